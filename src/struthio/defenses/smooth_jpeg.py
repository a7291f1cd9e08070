"""JPEG compression in torch, with a gradient: colours, blocks of 8 x 8, their cosine transform, rounding, and back."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LUMA = """
16 11 10 16 24 40 51 61   12 12 14 19 26 58 60 55   14 13 16 24 40 57 69 56   14 17 22 29 51 87 80 62
18 22 37 56 68 109 103 77   24 35 55 64 81 104 113 92   49 64 78 87 103 121 120 101   72 92 95 98 112 100 103 99
"""
CHROMA = (
    """
17 18 24 47 99 99 99 99   18 21 26 66 99 99 99 99   24 26 56 99 99 99 99 99   47 66 99 99 99 99 99 99
"""
    + "99 " * 32
)
TO_YCC = ((0.299, 0.587, 0.114), (-0.168735892, -0.331264108, 0.5), (0.5, -0.418687589, -0.081312411))
TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136286, -0.714136286), (1.0, 1.772, 0.0))

Round = Callable[[Tensor], Tensor]


def smooth_round(x: Tensor) -> Tensor:
    """Rounding with a slope of 0 at whole numbers and 3/4 between them: round(x) + (x - round(x))^3."""
    whole = x.detach().round()
    return whole + (x - whole) ** 3


def smooth_jpeg(x: Tensor, quality: int, subsampled: bool = True, rounded: Round = smooth_round) -> Tensor:
    """What JPEG leaves of pictures, differentiably (Shin, Song, 2017, "JPEG-resistant adversarial images").

    Args:
        x: pictures [n, 1 or 3, h, w] in [0, 1].
        quality: 1 to 100.
        subsampled: whether the colours have half the resolution.
        rounded: how the coefficients are rounded; torch.round gives what a JPEG file gives, up to its whole levels.
    """
    grey = x.shape[1] == 1
    values = x * 255 if grey else _colours(x * 255, TO_YCC)
    planes = [values[:, :1] - 128] + [values[:, channel : channel + 1] for channel in range(1, values.shape[1])]
    for at, plane in enumerate(planes):
        half = subsampled and at > 0
        kept = _through_blocks(_halved(plane) if half else plane, table(quality, at > 0).to(x), rounded)
        planes[at] = _doubled(kept)[..., : x.shape[2], : x.shape[3]] if half else kept
    values = torch.cat(planes, 1) + torch.tensor([128.0, 0, 0]).to(x)[: len(planes), None, None]
    return (values if grey else _colours(values, TO_RGB)).clamp(0, 255) / 255


def table(quality: int, colour: bool = False) -> Tensor:
    """By what the coefficients [8, 8] are divided before they are rounded, as libjpeg scales the standard's tables."""
    usual = torch.tensor([int(word) for word in (CHROMA if colour else LUMA).split()]).reshape(8, 8)
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    return ((usual * scale + 50) // 100).clamp(1, 255)


def _colours(x: Tensor, matrix: tuple[tuple[float, ...], ...]) -> Tensor:
    return torch.einsum("ij,njhw->nihw", torch.tensor(matrix).to(x), x)


def _halved(plane: Tensor) -> Tensor:
    height, width = plane.shape[-2:]
    return F.avg_pool2d(F.pad(plane, (0, width % 2, 0, height % 2), mode="replicate"), 2)


def _doubled(plane: Tensor) -> Tensor:
    return F.interpolate(plane, scale_factor=2, mode="bilinear", align_corners=False)


def _through_blocks(plane: Tensor, divisor: Tensor, rounded: Round) -> Tensor:
    """A plane [n, 1, h, w] cut into blocks of 8 x 8, each transformed, rounded, and transformed back."""
    height, width = plane.shape[-2:]
    padded = F.pad(plane, (0, -width % 8, 0, -height % 8), mode="replicate")
    lines, columns = padded.shape[-2] // 8, padded.shape[-1] // 8
    blocks = padded.unflatten(3, (columns, 8)).unflatten(2, (lines, 8)).movedim(3, 4)
    cosines = _cosines().to(plane)
    coefficients = rounded(cosines @ blocks @ cosines.T / divisor) * divisor
    back = (cosines.T @ coefficients @ cosines).movedim(4, 3).flatten(2, 3).flatten(3, 4)
    return back[..., :height, :width]


def _cosines() -> Tensor:
    """The orthonormal cosine transform of 8 values (DCT-II), [8, 8] in float64."""
    at = torch.arange(8, dtype=torch.float64)
    waves = torch.cos((2 * at + 1) * at[:, None] * math.pi / 16) / 2
    waves[0] *= 0.5**0.5
    return waves
