"""Fewer bits a value."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.defenses.base import Defense


class BitDepth(Defense):
    """Rounds each value in [0, 1] to the nearest of 2^bits levels.

    Xu, Evans, Qi, 2018, arXiv 1704.01155; Guo, Rana, Cisse, van der Maaten, 2018, arXiv 1711.00117. Its gradient is
    zero everywhere; the identity stands in for it.

    Args:
        bits: how many: 1 leaves black and white, 8 the levels of a picture file.
    """

    paper: ClassVar[str] = "Xu, Evans, Qi, 2018, arXiv 1704.01155"

    def __init__(self, bits: int = 3) -> None:
        super().__init__()
        checks.count(bits, "bits")
        self.bits = bits

    def forward(self, x: Tensor) -> Tensor:
        """X [n, ...] in [0, 1] on the levels."""
        steps = 2**self.bits - 1
        rounded: Tensor = (x * steps).round() / steps
        return rounded

    def stand_in(self, x: Tensor) -> Tensor:
        """X itself."""
        return x

    def piece(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The lowest and the highest values that fall on the same levels as x, a hair inside."""
        steps = 2**self.bits - 1
        level, half = (x * steps).round(), 0.5 - 1e-6
        return (level - half) / steps, (level + half) / steps

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"bits={self.bits}"
