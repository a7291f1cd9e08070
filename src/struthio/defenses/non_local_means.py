"""Each pixel as a mean of the pixels around it whose own surroundings look alike."""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense


class NonLocalMeans(Defense):
    """Smooths where a picture repeats itself: pixel i becomes sum_j w_ij x_j / sum_j w_ij over a window around it.

    w_ij = exp(-|P_i - P_j|^2 / h^2), with the mean square between two patches, over all their pixels and channels
    (Buades, Coll, Morel, 2005, CVPR, as OpenCV weighs them). The third squeezer of Xu, Evans, Qi, 2018, arXiv
    1704.01155, whose name for it is 11-3-4: these are the defaults, the strength in units of 1/255. They take OpenCV's
    form for photographs, which weighs lightness and colours apart; here the channels share their weights. Pictures go
    on beyond their edges as in a mirror that stands on the last pixel. The gradient is exact.

    Args:
        window: the odd side of the window that is searched, in pixels.
        patch: the odd side of the patches that are compared.
        strength: h, in the units of the input: patches that far apart still weigh 1 / e.
    """

    paper: ClassVar[str] = "Xu, Evans, Qi, 2018, arXiv 1704.01155"

    def __init__(self, window: int = 11, patch: int = 3, strength: float = 4 / 255) -> None:
        super().__init__()
        for name, side in (("window", window), ("patch", patch)):
            checks.count(side, name)
            if side % 2 == 0:
                raise UserError(f"{name} is {side}; an odd number of pixels is needed, so that it has a middle.")
        checks.positive(strength, "strength")
        self.window, self.patch, self.strength = window, patch, strength

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w], smoothed. Raises UserError for pictures too small to be mirrored."""
        reach, half = self.window // 2, self.patch // 2
        if x.ndim != 4 or reach + half >= min(x.shape[-2:]):
            raise UserError(
                f"non-local means within {self.window} x {self.window} pixels need pictures [n, c, h, w] with sides of "
                f"at least {reach + half + 1}; x has shape {tuple(x.shape)}."
            )
        height, width = (side + 2 * half for side in x.shape[-2:])
        wide = F.pad(x, (reach + half,) * 4, mode="reflect")
        here = wide[:, :, reach : reach + height, reach : reach + width]
        total, weights = torch.zeros_like(x), torch.zeros_like(x[:, :1])
        for down, along in product(range(self.window), repeat=2):
            there = wide[:, :, down : down + height, along : along + width]
            apart = F.avg_pool2d((here - there).square().mean(1, keepdim=True), self.patch, 1)
            weight = (-apart / self.strength**2).exp()
            middle = there[:, :, half : height - half, half : width - half]
            total, weights = total + weight * middle, weights + weight
        return total / weights

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"window={self.window}, patch={self.patch}, strength={self.strength:.4g}"
