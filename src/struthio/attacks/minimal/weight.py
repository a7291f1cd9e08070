"""The weight c between goal and size, searched a row each: ten times as much until a win, then halfway."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Weight:
    """The weight of the goal beside the size of the change (Carlini and Wagner, 2017, arXiv 1608.04644).

    Attributes:
        value: to be tried next, [n].
        low: the largest that did not win, [n]; 0 at first.
        high: the smallest that won, [n]; infinite until one has.
    """

    value: Tensor
    low: Tensor
    high: Tensor

    @classmethod
    def first(cls, value: float, x: Tensor) -> Weight:
        """The same first weight for every row of x."""
        c = torch.full((len(x),), value, dtype=x.dtype, device=x.device)
        return cls(c, torch.zeros_like(c), torch.full_like(c, torch.inf))

    def tried(self, won: Tensor) -> None:
        """What came of the value, bool [n]: narrows the bracket and sets the next."""
        self.high = torch.where(won, torch.minimum(self.high, self.value), self.high)
        self.low = torch.where(won, self.low, torch.maximum(self.low, self.value))
        halfway = (self.low + self.high.clamp(max=1e30)) / 2
        self.value = torch.where(self.high.isfinite(), halfway, 10 * self.value)
