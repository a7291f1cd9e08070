"""The limits of an input, whatever the radius: [0, 1] for pixels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.checks import UserError


@dataclass(frozen=True)
class Box:
    """Lowest and highest value of an input; tensors that broadcast over a row give each channel or column its own."""

    low: float | Tensor = 0.0
    high: float | Tensor = 1.0

    def __post_init__(self) -> None:
        if not bool((_tensor(self.high) > _tensor(self.low)).all()):
            raise UserError(f"Box({self.low}, {self.high}) is empty; high must be above low everywhere.")

    @property
    def width(self) -> float:
        """The widest span from low to high."""
        return float((_tensor(self.high) - _tensor(self.low)).max())

    def clip(self, x: Tensor) -> Tensor:
        """The nearest input within the limits."""
        return x.clamp(self.low, self.high)  # type: ignore[arg-type]

    def holds(self, x: Tensor) -> Tensor:
        """Rows that lie within the limits, up to rounding, bool [n]."""
        beyond = (x - self.clip(x)).flatten(1)  # two searches for the largest are quicker than one mask of all values
        return (beyond.amax(1) <= 1e-6 * self.width) & (beyond.amin(1) >= -1e-6 * self.width)

    def room(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """How far down (at most 0) and up (at least 0) each value of x may go."""
        return (self.low - x).clamp(max=0), (self.high - x).clamp(min=0)


def _tensor(value: float | Tensor) -> Tensor:
    return torch.as_tensor(value)


PIXELS = Box(0.0, 1.0)  # the limits of a picture, and the default of every threat
