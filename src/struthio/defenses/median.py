"""The median of a window around each pixel."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense


class MedianFilter(Defense):
    """Puts in the place of each pixel the median of a square window around it, in each channel: local smoothing.

    Xu, Evans, Qi, 2018, arXiv 1704.01155, who take SciPy's filter: pictures go on beyond their edges as in a mirror,
    and of an even number of values the upper middle one is taken. A window of even side has its pixel right and below
    of the middle. The gradient goes to the pixel that is taken, which is exact.

    Args:
        size: the side of the window, in pixels; at most the picture's.
    """

    paper: ClassVar[str] = "Xu, Evans, Qi, 2018, arXiv 1704.01155"

    def __init__(self, size: int = 2) -> None:
        super().__init__()
        checks.count(size, "size")
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w], smoothed."""
        if x.ndim != 4 or self.size > min(x.shape[-2:]):
            raise UserError(
                f"a median of {self.size} x {self.size} pixels needs pictures [n, c, h, w] as large; x has shape "
                f"{tuple(x.shape)}."
            )
        windows = x[:, :, self._mirrored(x, 2)][:, :, :, self._mirrored(x, 3)]
        windows = windows.unfold(2, self.size, 1).unfold(3, self.size, 1).flatten(4)
        return windows.sort(dim=-1).values[..., self.size**2 // 2]

    def _mirrored(self, x: Tensor, dim: int) -> Tensor:
        """The lines (dim 2) or columns (dim 3) of x with as many more as windows reach over, the edge itself twice."""
        side = x.shape[dim]
        places = torch.arange(-(self.size // 2), side + (self.size - 1) // 2, device=x.device)
        return torch.where(places < 0, -1 - places, torch.where(places >= side, 2 * side - 1 - places, places))

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"size={self.size}"
