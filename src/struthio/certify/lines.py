"""What encloses a nonlinear operation on an interval, and how coefficients pass through it.

Zhang, Weng, Chen, Hsieh, Daniel, 2018, arXiv 1811.00866 (CROWN): every activation lies between one line above and one
below, which may differ in slope. All tensors have one row an input, [n, 1, ...].
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor


class Enclosure(Protocol):
    """Lines below and above an operation, found for an interval of each input."""

    def back(self, a: Tensor, rows: Tensor, slopes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """From a lower bound a . y of an answer to one of its input: the new coefficients and a constant a question.

        Args:
            a: coefficients of the output, [m, 1, ...], one question an entry.
            rows: the row that each question is about, [m].
            slopes: other slopes for the lower lines that are free to choose, in the shape of a.
        """
        ...

    def freedom(self, rows: Tensor) -> tuple[Tensor, float] | None:
        """The slopes [m, 1, ...] of the lower lines, and the least that they may be set to; None where they are fixed.

        They may be set to anything from there to 1; it changes nothing where the operation is a line.
        """
        ...


class Relaxation(Protocol):
    """A nonlinear operation as bounds need it. `low` and `high` enclose its input."""

    def __call__(self, x: Tensor) -> Tensor:
        """The operation itself."""
        ...

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """What encloses its output."""
        ...

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Where a narrower interval would give better lines, bool in the shape of low."""
        ...

    def enclose(self, low: Tensor, high: Tensor) -> Enclosure:
        """The lines."""
        ...


@dataclass(frozen=True)
class Lines:
    """slope * x + shift, below and above each value of an elementwise operation.

    Attributes:
        below: slopes of the lower lines.
        below_at: their value at 0, or None where all pass through 0.
        above: slopes of the upper lines.
        above_at: their value at 0.
        free: where a lower line may turn about (knee, knee), bool; None where none may.
        knee: the point where a free line touches.
        least: the least slope of a free line; the greatest is 1.
    """

    below: Tensor
    below_at: Tensor | None
    above: Tensor
    above_at: Tensor
    free: Tensor | None = None
    knee: float = 0.0
    least: float = 0.0

    def back(self, a: Tensor, rows: Tensor, slopes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """A positive coefficient takes the line below, a negative one the line above."""
        up, down = a.clamp(min=0), a.clamp(max=0)
        below, shift = self.below[rows], None if self.below_at is None else self.below_at[rows]
        if slopes is not None and self.free is not None:
            free = self.free[rows]
            below = torch.where(free, slopes, below)
            shift = None if shift is None else torch.where(free, self.knee * (1 - slopes), shift)
        constant = (down * self.above_at[rows]).flatten(1).sum(1)
        if shift is not None:
            constant = constant + (up * shift).flatten(1).sum(1)
        return up * below + down * self.above[rows], constant

    def freedom(self, rows: Tensor) -> tuple[Tensor, float] | None:
        """The slopes of the free lines, as they are now."""
        return None if self.free is None else (self.below[rows].clone(), self.least)


@dataclass(frozen=True)
class Choice:
    """x[first] below the maximum, slope * x[first] + shift above it.

    Attributes:
        dim: the dimension, counted from the end.
        keep: whether the output still has it.
        first: the chosen place along its dimension.
        slope: of the upper line.
        shift: of the upper line.
        size: of the dimension.
    """

    dim: int
    keep: bool
    first: Tensor
    slope: Tensor
    shift: Tensor
    size: int

    def back(self, a: Tensor, rows: Tensor, slopes: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """All coefficients go to the chosen values."""
        a = a if self.keep else a.unsqueeze(self.dim)
        up, down = a.clamp(min=0), a.clamp(max=0)
        constant = (down * self.shift[rows]).flatten(1).sum(1)
        chosen = up + down * self.slope[rows]
        shape = list(a.shape)
        shape[self.dim] = self.size
        return chosen.new_zeros(shape).scatter(self.dim, self.first[rows], chosen), constant

    def freedom(self, rows: Tensor) -> tuple[Tensor, float] | None:
        """Nothing is free."""
        return None
