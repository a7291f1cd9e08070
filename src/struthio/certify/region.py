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

ROUNDS = 10  # in which the multiplier of a Euclidean ball is found; any number of them is sound


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

    def corner(self) -> Tensor:
        """Of each row, [n, ...], every other value at its least and the rest at their greatest."""
        even = torch.arange(self.low[:1].numel(), device=self.low.device).reshape(self.low[:1].shape) % 2 == 0
        return torch.where(even, self.low, self.high).squeeze(1)

    def lowest(self, a: Tensor, rows: Tensor) -> Tensor:
        """A lower bound, [m], of a . x over the region of each question's row; exact but for rounding.

        Args:
            a: coefficients [m, 1, ...].
            rows: the row of each question, [m].
        """
        return self.least(a, rows)[0]

    def least(self, a: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """A lower bound of a . x as `lowest`, and the x [m, 1, ...] where it is reached.

        With a ball, by its multiplier: a . x + m * (size of x - centre, less that of the radius) has a least value over
        the interval of each x alone, which is a bound for every m >= 0 and exact for the best.
        """
        low, high = self.low[rows], self.high[rows]
        if self.eps is None:
            middle, half = (high + low) / 2, (high - low) / 2
            return (a * middle - a.abs() * half).flatten(1).sum(1), middle - a.sign() * half
        centre, eps = self.x[rows], self.eps[rows]
        down, up = (low - centre).flatten(1), (high - centre).flatten(1)
        flat = a.flatten(1)
        find = _euclidean if self.p == 2 else _absolute
        gain, step = find(flat, torch.where(flat > 0, -down, up), eps)
        return (a * centre).flatten(1).sum(1) - gain, centre - (flat.sign() * step).reshape(a.shape)


def _euclidean(a: Tensor, room: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """The most that a . step gains over steps [m, d] of a length up to eps and up to the room of each value.

    Values that would go past their room stop there, and the others share what is left of the length; each round finds
    more of the first, and the multiplier never falls below the best.
    """
    size = a.detach().abs()
    step = torch.zeros_like(size)
    for _ in range(ROUNDS):
        stopped = (step >= room) | (size == 0)
        left = (eps.square() - torch.where(stopped, step, 0).square().sum(1)).clamp(min=0).sqrt()
        free = torch.where(stopped, 0, size).norm(dim=1)
        weight = free / left.clamp(min=1e-12)
        step = torch.minimum(size / weight.clamp(min=1e-30)[:, None], room)
    gain = (a.abs() * step).sum(1) - weight / 2 * (step.square().sum(1) - eps.square())
    return gain, step


def _absolute(a: Tensor, room: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """The same for steps whose absolute values sum up to eps: the steepest values first, as far as they have room."""
    size, order = a.detach().abs().sort(dim=1, descending=True)
    rooms = room.gather(1, order)
    before = rooms.cumsum(1) - rooms
    step = torch.minimum((eps[:, None] - before).clamp(min=0), rooms)
    weight = torch.where(step < rooms, size, 0).amax(1, keepdim=True)  # of the first that has room left
    gain = ((a.abs() - weight).clamp(min=0) * room).sum(1) + weight.flatten() * eps
    return gain, torch.zeros_like(step).scatter(1, order, step)


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
