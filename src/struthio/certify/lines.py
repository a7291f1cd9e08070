"""What encloses a nonlinear operation on an interval, and how coefficients pass through it.

Zhang, Weng, Chen, Hsieh, Daniel, 2018, arXiv 1811.00866 (CROWN): every activation lies between one line above and one
below, which may differ in slope. All tensors have one row an input, [n, 1, ...].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

Turn = Callable[["Lines"], Tensor]  # other slopes for the lower lines, used where they are free


class Enclosure(Protocol):
    """Lines below and above an operation, found for an interval of each input."""

    def back(self, a: Tensor, rows: Tensor, turn: Turn | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """From a lower bound a . y of an answer to one of its inputs: new coefficients for each, a constant a question.

        Args:
            a: coefficients of the output, [m, 1, ...], one question an entry.
            rows: the row that each question is about, [m].
            turn: chooses other slopes for lower lines that are free.
        """
        ...


class Relaxation(Protocol):
    """A nonlinear operation as bounds need it. `low` and `high` enclose its input."""

    @property
    def steepest(self) -> float:
        """The most that its output changes for a step of length 1 of its input, in the Euclidean norm."""
        ...

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

    def back(self, a: Tensor, rows: Tensor, turn: Turn | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """The lines of each question's row."""
        given, constant = self.taken(lambda part: part[rows]).turned(turn).pull(a)
        return (given,), constant

    def taken(self, take: Callable[[Tensor], Tensor]) -> Lines:
        """The same lines at other places."""
        at, free = self.below_at, self.free
        return replace(
            self, below=take(self.below), below_at=None if at is None else take(at), above=take(self.above),
            above_at=take(self.above_at), free=None if free is None else take(free),
        )  # fmt: skip

    def turned(self, turn: Turn | None) -> Lines:
        """The same lines, but for the slopes of the free ones."""
        if turn is None or self.free is None:
            return self
        slopes = turn(self)
        at = None if self.below_at is None else torch.where(self.free, self.knee * (1 - slopes), self.below_at)
        return replace(self, below=torch.where(self.free, slopes, self.below), below_at=at)

    def pull(self, a: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [m, ...] of the input, and a constant: a positive one takes the line below, else that above."""
        up, down = a.clamp(min=0), a.clamp(max=0)
        constant = (down * self.above_at).flatten(1).sum(1)
        if self.below_at is not None:
            constant = constant + (up * self.below_at).flatten(1).sum(1)
        return up * self.below + down * self.above, constant

    def loss(self, x: Tensor, y: Tensor, a: Tensor) -> Tensor:
        """By how much a . the lines is below a . y, for each x where the operation's own value is y."""
        below = self.below * x if self.below_at is None else self.below * x + self.below_at
        return a.clamp(min=0) * (y - below) - a.clamp(max=0) * (self.above * x + self.above_at - y)


@runtime_checkable
class Bent(Relaxation, Protocol):
    """A nonlinear operation on each value by itself, whose lines are better on both sides of a cut."""

    def bend(self, low: Tensor, high: Tensor) -> Tensor:
        """Where to cut an interval that is uncertain."""
        ...

    def enclose(self, low: Tensor, high: Tensor) -> Lines:
        """The lines."""
        ...


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

    def back(self, a: Tensor, rows: Tensor, turn: Turn | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """All coefficients go to the chosen values."""
        a = a if self.keep else a.unsqueeze(self.dim)
        up, down = a.clamp(min=0), a.clamp(max=0)
        constant = (down * self.shift[rows]).flatten(1).sum(1)
        chosen = up + down * self.slope[rows]
        shape = list(a.shape)
        shape[self.dim] = self.size
        return (chosen.new_zeros(shape).scatter(self.dim, self.first[rows], chosen),), constant


@dataclass(frozen=True)
class Planes:
    """slopes . x + height, below and above an operation on the last dimension.

    Attributes:
        slopes: of both planes, [n, 1, ..., d].
        below: the height of the lower one, [n, 1, ...].
        above: that of the upper one.
    """

    slopes: Tensor
    below: Tensor
    above: Tensor

    def back(self, a: Tensor, rows: Tensor, turn: Turn | None = None) -> tuple[tuple[Tensor, ...], Tensor]:
        """A positive coefficient takes the plane below, a negative one that above."""
        heights = a.clamp(min=0) * self.below[rows] + a.clamp(max=0) * self.above[rows]
        return (a.unsqueeze(-1) * self.slopes[rows],), heights.flatten(1).sum(1)
