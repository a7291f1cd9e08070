"""Windows of pictures, one a row, anywhere in the picture; and the pyramids that Square Attack puts into them."""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from struthio.rows import RowGenerator


def as_pictures(x: Tensor) -> Tensor:
    """X as [n, c, h, w]: pictures as they are, a table's row as one line, [n, c, l] as one line a channel."""
    if x.ndim == 2:
        return x[:, None, None, :]
    return x if x.ndim == 4 else x.reshape(len(x), x.shape[1], -1, x.shape[-1])


def sides(share: float, h: int, w: int, least: int = 1, odd: bool = False) -> tuple[int, int]:
    """Height and width of a window that covers this share of h x w: a square, where the picture leaves room for it.

    Args:
        share: of the picture, in (0, 1].
        h: height of the picture.
        w: width of the picture.
        least: the shortest side.
        odd: whether the side is made odd.
    """
    side = max(round(math.sqrt(share * h * w)), least)
    side += odd and side % 2 == 0
    high = min(side, h)
    return high, min(w, side if high == side else max(side * side // high, 1))


def windows(generator: RowGenerator, size: tuple[int, int], h: int, w: int) -> Tensor:
    """For each row the places of a window, every position equally likely: numbers of pixels, int64 [n, size]."""
    return window(generator.uniform((), torch.float64), generator.uniform((), torch.float64), size, h, w)


def window(down: Tensor, across: Tensor, size: tuple[int, int], h: int, w: int) -> Tensor:
    """The places of a window so far down and across, each a share in [0, 1) a row, int64 [n, size]."""
    top, left = (down * (h - size[0] + 1)).long(), (across * (w - size[1] + 1)).long()
    return (top * w + left)[:, None] + _offsets(size, w, top.device)


@functools.cache
def _offsets(size: tuple[int, int], w: int, device: torch.device) -> Tensor:
    """Where the pixels of a window are, counted from its first."""
    lines, columns = torch.arange(size[0], device=device), torch.arange(size[1], device=device)
    return (lines[:, None] * w + columns).flatten()


def signs(generator: RowGenerator, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """Plus or minus one with equal chance, [n, *shape]."""
    return 2.0 * generator.integers(2, shape).to(dtype) - 1.0


def pyramids(size: tuple[int, int], p: float, like: Tensor) -> Tensor:
    """Two pyramids of p-norm 1, one up and one down, side by side or one above the other, [2, h * w]."""
    return _both_pairs(size, p).to(like)


@functools.cache
def _both_pairs(size: tuple[int, int], p: float) -> Tensor:
    both = torch.stack([_pair(*size, p).flatten(), _pair(size[1], size[0], p).T.flatten()])
    pairs: Tensor = both / torch.linalg.vector_norm(both, ord=p, dim=1, keepdim=True)
    return pairs


def _pair(h: int, w: int, p: float) -> Tensor:
    halves = _pyramid(h // 2, w), -_pyramid(h - h // 2, w)
    return torch.cat([half / torch.linalg.vector_norm(half, ord=p) for half in halves if half.numel()])


def _pyramid(h: int, w: int) -> Tensor:
    """Squares around the middle, each wider by one and worth 1 / k^2, laid on one another."""
    down, across = (torch.arange(side) - side // 2 for side in (h, w))
    ring = torch.maximum(down.abs()[:, None], across.abs()[None, :])
    worth = 1.0 / torch.arange(1, max(h // 2, w // 2) + 2, dtype=torch.float64).square()
    height: Tensor = worth.flip(0).cumsum(0).flip(0)[ring]
    return height
