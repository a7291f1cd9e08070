"""Operations made of straight pieces: their intervals, and lines above and below each on an interval of its input."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio.certify.lines import Choice, Lines, Planes


@dataclass(frozen=True)
class Clamp:
    """min(max(x, floor), ceiling): ReLU is Clamp(0, inf), ReLU6 is Clamp(0, 6).

    Args:
        floor: the least output.
        ceiling: the greatest output.
    """

    steepest: ClassVar[float] = 1.0

    floor: float
    ceiling: float

    def __call__(self, x: Tensor) -> Tensor:
        """Every value within the floor and the ceiling."""
        return x.clamp(self.floor, self.ceiling)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends clamped."""
        return self(low), self(high)

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Intervals with a bend inside."""
        return ((low < self.floor) & (high > self.floor)) | ((low < self.ceiling) & (high > self.ceiling))

    def bend(self, low: Tensor, high: Tensor) -> Tensor:
        """The floor where it lies inside, else the ceiling."""
        inside = (low < self.floor) & (high > self.floor)
        return torch.where(inside, self.floor, low.new_tensor(self.ceiling))

    def enclose(self, low: Tensor, high: Tensor) -> Lines:
        """At a bend the chord on one side; on the other the line of the larger part, which leaves less between."""
        below, below_at, free = self._under(low, high)
        above, above_at = self._over(low, high)
        passes = self.floor == 0 and not bool((below_at != 0).any())
        return Lines(below, None if passes else below_at, above, above_at, free, max(self.floor, -1e300))

    def _under(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        floor, ceiling = self.floor, self.ceiling
        start = low.clamp(min=floor)
        bent = (high > ceiling) & (start < ceiling)  # the chord from (start, start) to (high, ceiling)
        chord = (ceiling - start) / torch.where(bent, high - start, 1) if ceiling < torch.inf else torch.zeros_like(low)
        free = (low < floor) & (high > floor) & (high <= ceiling)
        slope = torch.where(bent, chord, ((low >= floor) & (high <= ceiling)).to(low))
        slope = torch.where(free, (high - floor > floor - low).to(low), slope)
        flat = torch.where(low >= ceiling, low.new_tensor(ceiling), low.new_tensor(floor))
        at = torch.where(bent, start * (1 - chord), flat)
        at = torch.where(slope == 1, torch.zeros_like(low), at)
        return slope, at, free

    def _over(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        floor, ceiling = self.floor, self.ceiling
        end = high.clamp(max=ceiling)
        bent = (low < floor) & (end > floor)  # the chord from (low, floor) to (end, end)
        chord = (end - floor) / torch.where(bent, end - low, 1) if floor > -torch.inf else torch.zeros_like(low)
        turns = (low >= floor) & (low < ceiling) & (high > ceiling)
        slope = torch.where(bent, chord, ((low >= floor) & (high <= ceiling)).to(low))
        slope = torch.where(turns, (ceiling - low > high - ceiling).to(low), slope)
        flat = torch.where(high <= floor, low.new_tensor(floor), low.new_tensor(ceiling))
        at = torch.where(bent, end * (1 - chord), flat)
        return slope, torch.where(slope == 1, torch.zeros_like(low), at)


@dataclass(frozen=True)
class Leaky:
    """LeakyReLU: x above 0, slope * x below.

    Args:
        slope: from 0 to 1.
    """

    steepest: ClassVar[float] = 1.0

    slope: float

    def __call__(self, x: Tensor) -> Tensor:
        """The larger of x and slope * x."""
        return torch.maximum(x, self.slope * x)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Both ends."""
        return self(low), self(high)

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Intervals that hold 0."""
        return (low < 0) & (high > 0)

    def bend(self, low: Tensor, high: Tensor) -> Tensor:
        """0."""
        return torch.zeros_like(low)

    def enclose(self, low: Tensor, high: Tensor) -> Lines:
        """The chord above; below, the line of the larger part."""
        bent = self.uncertain(low, high)
        plain = torch.where(low >= 0, torch.ones_like(low), torch.full_like(low, self.slope))
        chord = (high - self.slope * low) / torch.where(bent, high - low, 1)
        below = torch.where(bent, torch.where(high > -low, 1.0, self.slope), plain)
        above = torch.where(bent, chord, plain)
        at = torch.where(bent, high * (1 - chord), torch.zeros_like(low))
        return Lines(below, None, above, at, bent, 0.0, self.slope)


@dataclass(frozen=True)
class Greatest:
    """The greatest value along a dimension.

    Args:
        dim: counted from the end, -1 for the last.
        keep: whether the dimension stays, with size 1.
    """

    steepest: ClassVar[float] = 1.0

    dim: int
    keep: bool = False

    def __call__(self, x: Tensor) -> Tensor:
        """The maximum."""
        return x.amax(self.dim, keepdim=self.keep)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The greatest of the lower ends, and of the upper."""
        return self(low), self(high)

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Values that may be the greatest, where more than one may."""
        rivals = high > low.amax(self.dim, keepdim=True)
        return rivals & (rivals.sum(self.dim, keepdim=True) > 1) & (high > low)

    def enclose(self, low: Tensor, high: Tensor) -> Choice:
        """Below: the value with the greatest lower end. Above: that value, and a chord over what the others reach."""
        first = low.argmax(self.dim, keepdim=True)
        least, most = low.gather(self.dim, first), high.gather(self.dim, first)
        others = high.scatter(self.dim, first, -torch.inf).amax(self.dim, keepdim=True)
        rivals = others > least
        slope = torch.where(rivals, (most - others) / torch.where(rivals, most - least, 1), 1).clamp(0, 1)
        shift = torch.maximum(others, least) - slope * least
        return Choice(self.dim, self.keep, first, slope, shift, low.shape[self.dim])


@dataclass(frozen=True)
class Product:
    """The product of two values, side by side along the last dimension.

    Between planes by McCormick, 1976 (Mathematical Programming 10, 147-175): on either side the mean of the two that
    touch it, which is as high in the middle as both.
    """

    steepest: ClassVar[float] = math.inf

    def __call__(self, x: Tensor) -> Tensor:
        """The product."""
        return x[..., 0] * x[..., 1]

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The extremes among the four corners."""
        corners = torch.stack([a[..., 0] * b[..., 1] for a in (low, high) for b in (low, high)])
        return corners.amin(0), corners.amax(0)

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Everywhere: narrower intervals always give better planes."""
        return high > low

    def enclose(self, low: Tensor, high: Tensor) -> Planes:
        """Two planes of one slope."""
        alike = (low.prod(-1) + high.prod(-1)) / 2
        crossed = (low[..., 0] * high[..., 1] + high[..., 0] * low[..., 1]) / 2
        return Planes((low + high).flip(-1) / 2, -alike, -crossed)
