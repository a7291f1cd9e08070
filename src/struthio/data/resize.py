"""Bring a picture of any size to a network's input: resize the short side, crop the middle; differentiable."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.checks import UserError, one_of

LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as Pillow's conversion to grey
LONGEST = 4  # times the other side; what lies further out cannot reach the crop


class Fit(nn.Module):
    """Resize [n, C, h, w] in [0, 1] to [n, C, H, W] in [0, 1], differentiably, so that an attack can pass through.

    `crop` scales the picture until it covers H x W with a margin (256 for 224, as ImageNet networks are evaluated)
    and takes the middle; `squash` stretches both sides. Both filter with anti-aliasing. A picture that already is
    H x W is returned as it is: a saved result is judged as it stands. Bicubic overshoot is cut at 0 and 1.
    """

    def __init__(
        self, size: int | tuple[int, int], mode: str = "crop", filter: str = "bicubic", margin: float = 256 / 224
    ) -> None:
        super().__init__()
        one_of(mode, ("crop", "squash"), "mode")
        one_of(filter, ("bicubic", "bilinear"), "filter")
        self.size = (size, size) if isinstance(size, int) else (int(size[0]), int(size[1]))
        if min(self.size) < 1 or margin < 1:
            raise UserError(f"Fit was given size {self.size} and margin {margin:g}; both must be at least 1.")
        self.mode, self.filter, self.margin = mode, filter, margin

    def forward(self, x: Tensor) -> Tensor:
        """[n, C, h, w] to [n, C, H, W]."""
        if x.shape[-2:] == self.size:
            return x
        if self.mode == "squash":
            return self._scale(x, self.size)
        covered = (round(self.size[0] * self.margin), round(self.size[1] * self.margin))
        x = _middle(x, *_reach(x.shape[-2], x.shape[-1], covered))
        height, width = x.shape[-2:]
        by = max(covered[0] / height, covered[1] / width) + 1e-9  # so that 3 * (256 / 3) is not 255
        scaled = self._scale(x, (int(height * by), int(width * by)))
        return _middle(scaled, *self.size)

    def _scale(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        if x.shape[-2:] == size:
            return x
        scaled = F.interpolate(x, size=size, mode=self.filter, align_corners=False, antialias=True)
        return _within(scaled)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"size={self.size}, mode={self.mode!r}, filter={self.filter!r}, margin={self.margin:.4g}"


def _reach(height: int, width: int, covered: tuple[int, int]) -> tuple[int, int]:
    """The middle part that matters: a 20,000 x 10 strip enlarged whole would fill gigabytes, only to be cropped."""
    tallest = max(1, round(LONGEST * width * covered[0] / covered[1]))
    widest = max(1, round(LONGEST * height * covered[1] / covered[0]))
    # The parity is kept, so that the middle stays the middle.
    return min(height, tallest + (height - tallest) % 2), min(width, widest + (width - widest) % 2)


def _middle(x: Tensor, height: int, width: int) -> Tensor:
    """The middle; an odd margin leaves its odd pixel at the bottom or right (torchvision rounds half to even)."""
    top, left = (x.shape[-2] - height) // 2, (x.shape[-1] - width) // 2
    return x[..., top : top + height, left : left + width]


def _within(x: Tensor) -> Tensor:
    """Cut at 0 and 1. White that came out as 1 + 1e-7 by rounding keeps its slope, or an attack could not darken it."""
    cut = x.clamp(0, 1)
    rounding = (x > -1e-6) & (x < 1 + 1e-6)
    return torch.where(rounding, x + (cut - x).detach(), cut)


def to_channels(x: Tensor, channels: int) -> Tensor:
    """[n, C, H, W] with `channels` channels: grey is repeated, RGB is weighed to grey (BT.601); else UserError."""
    if x.shape[1] == channels:
        return x
    if x.shape[1] == 1:
        return x.expand(-1, channels, -1, -1)
    if x.shape[1] == 3 and channels == 1:
        return (x * x.new_tensor(LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True).clamp(0, 1)
    raise UserError(f"the data has {x.shape[1]} channels and the model wants {channels}; only grey and RGB convert.")


def to_size(x: Tensor, size: tuple[int, int, int] | None, mode: str = "crop") -> Tensor:
    """[n, C, h, w] as [n, *size] with size (C, H, W); unchanged where size is None."""
    if size is None:
        return x
    if x.ndim != 4:
        raise UserError(f"a row has the shape {tuple(x.shape[1:])}, but the model wants pictures {tuple(size)}.")
    with torch.no_grad():
        return Fit((size[1], size[2]), mode).forward(to_channels(x, size[0])).contiguous()
