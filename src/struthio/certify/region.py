"""Where an input may be: a ball around each row within limits, or a box."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.rows import Rows, per_row
from struthio.threats import L1, L2, Levels, Linf, Masked
from struthio.types import Threat

DUAL = {1.0: math.inf, 2.0: 2.0}


@dataclass(frozen=True)
class Region:
    """An interval for each value, and where p is finite a ball around x besides. Rows are [n, 1, ...], in double.

    Attributes:
        low: the least of each value.
        high: the greatest.
        x: the centre of the ball.
        eps: its radius, [n]; None for a plain box.
        p: its norm, 1 or 2.
    """

    low: Tensor
    high: Tensor
    x: Tensor
    eps: Tensor | None = None
    p: float = math.inf

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, rows: Rows) -> Region:
        eps = None if self.eps is None else self.eps[rows]
        return Region(self.low[rows], self.high[rows], self.x[rows], eps, self.p)

    def to(self, like: Tensor) -> Region:
        """The same region in another precision."""
        eps = None if self.eps is None else self.eps.to(like)
        return Region(self.low.to(like), self.high.to(like), self.x.to(like), eps, self.p)

    def lowest(self, a: Tensor, rows: Tensor) -> Tensor:
        """A lower bound, [m], of a . x over the region of each question's row; exact for a box.

        Args:
            a: coefficients [m, 1, ...].
            rows: the row of each question, [m].
        """
        middle, half = ((self.high + self.low) / 2)[rows], ((self.high - self.low) / 2)[rows]
        box = (a * middle - a.abs() * half).flatten(1).sum(1)
        if self.eps is None:
            return box
        free = (a * (half > 0)).flatten(1)  # what cannot change adds nothing to the norm
        steep = torch.linalg.vector_norm(free, ord=DUAL[self.p], dim=1)
        ball = (a * self.x[rows]).flatten(1).sum(1) - self.eps[rows] * steep
        return torch.maximum(box, ball)


def box_region(low: Tensor, high: Tensor) -> Region:
    """A box for each row, from tensors [n, ...]."""
    low, high = low.double().unsqueeze(1), high.double().unsqueeze(1)
    return Region(low, high, (low + high) / 2)


def region_of(threat: Threat, x: Tensor) -> Region:
    """What a threat allows around the rows of x [n, ...], widened by the rounding that its own check forgives.

    Raises UserError for a threat without known bounds, or without a finite radius.
    """
    inner: Any = threat
    free = torch.ones_like(x, dtype=torch.bool)
    while isinstance(inner, (Levels, Masked)):  # levels allow less than the threat inside, so its bounds hold
        if isinstance(inner, Masked):
            free = free & inner.mask
        inner = inner.threat
    if not isinstance(inner, (Linf, L2, L1)):
        raise UserError(
            f"bounds are known for Linf, L2 and L1, also within Masked or Levels; {type(inner).__name__} was given."
        )
    eps = per_row(inner.eps, x).double().expand(len(x), *[1] * (x.ndim - 1))
    if not bool(eps.isfinite().all()):
        raise UserError(
            f"the radius of {type(inner).__name__} is infinite; name one, such as {type(inner).__name__}(0.1)."
        )
    eps, wide = eps * (1 + 1e-4) + 1e-6, x.double()
    low, high = wide - eps, wide + eps
    if inner.box is not None:
        slack = 1e-6 * inner.box.width
        bottom, top = (torch.as_tensor(edge, device=x.device).double() for edge in (inner.box.low, inner.box.high))
        low, high = torch.maximum(low, bottom - slack), torch.minimum(high, top + slack)
        low, high = torch.minimum(low, wide), torch.maximum(high, wide)
    low, high = (torch.where(free, edge, wide).unsqueeze(1) for edge in (low, high))
    p = float(inner.p)
    return Region(low, high, wide.unsqueeze(1), None if p == math.inf else eps.flatten(), p)
