"""Each picture shrunk to a random size and put at a random place."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.gradients.views import placed


class ResizeAndPad(Defense):
    """Resizes each picture to a random side and pads it with a constant to one size, at a random place.

    Xie, Wang, Zhang, Ren, Yuille, 2018, arXiv 1711.01991: 299 pixels go to a side in [310, 331), nearest pixels, padded
    to 331: ResizeAndPad(smallest=310 / 331, size=331). Each row has draws of its own. The gradient is the true
    one: the identity would not do for a picture that has moved.

    Args:
        smallest: the smallest side drawn, as a share of the final one.
        size: the final side; None keeps that of the picture, so that a network that is there already can be behind it.
        fill: the value around the picture.
        mode: "nearest" as in the paper, or "bilinear".
    """

    paper: ClassVar[str] = "Xie, Wang, Zhang, Ren, Yuille, 2018, arXiv 1711.01991"
    random = True

    def __init__(
        self, smallest: float = 0.8, size: int | None = None, fill: float = 0.0, mode: str = "nearest"
    ) -> None:
        super().__init__()
        checks.share(smallest, "smallest")
        checks.one_of(mode, ("nearest", "bilinear"), "mode")
        if size is not None:
            checks.count(size, "size")
        self.smallest, self.size, self.fill, self.mode = smallest, size, fill, mode

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w] to [n, c, size, size]."""
        if x.ndim != 4:
            raise UserError(f"a random resize needs pictures [n, c, h, w]; x has shape {tuple(x.shape)}.")
        size = x.shape[-2:] if self.size is None else torch.Size((self.size, self.size))
        sides = torch.tensor(size, dtype=x.dtype, device=x.device)
        chance, *places = torch.rand(3, len(x), dtype=x.dtype, device=x.device)
        least = (self.smallest * sides).round()
        side = (least + (chance[:, None] * (sides - least)).floor()).clamp(min=1)
        offset = (torch.stack(places, 1) * (sides - side + 1)).floor()
        return placed(x - self.fill, side, offset, size, self.mode) + self.fill

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"smallest={self.smallest:.4g}, size={self.size}, fill={self.fill:g}, mode={self.mode!r}"
