"""A share of some rows, with what the sample leaves open about it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Share:
    """So many of so many rows, with the 95 % interval of Clopper and Pearson.

    Args:
        count: how many.
        of: of how many, at least 1.
    """

    count: int
    of: int

    @property
    def share(self) -> float:
        """In [0, 1]."""
        return self.count / self.of

    @property
    def low(self) -> float:
        """The lower limit."""
        return interval(self.count, self.of)[0]

    @property
    def high(self) -> float:
        """The upper limit."""
        return interval(self.count, self.of)[1]

    def shortfall(self, at_least: float | None) -> str | None:
        """What a gate says where the lower limit is below the share asked for; None where it is not, or none was."""
        if at_least is None or self.low >= at_least:
            return None
        within = f"{percent(self.low)} to {percent(self.high)}"
        return (
            f"robust accuracy may be as low as {percent(self.low)} ({self.count} of {self.of} rows stand; 95 % "
            f"interval {within}), below the {percent(at_least)} asked for"
        )

    def figures(self) -> dict[str, float | int]:
        """For machines."""
        return {"share": self.share, "count": self.count, "of": self.of, "low": self.low, "high": self.high}


def interval(count: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """The exact binomial interval of Clopper and Pearson (1934, Biometrika 26) for `count` of `of`.

    Each end is the share under which a count at least as extreme has the probability (1 - level) / 2.
    """
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"{count} of {of} is no share.")
    rare = (1 - level) / 2
    low = 0.0 if count == 0 else _share_where_tail(count, of, rare)
    high = 1.0 if count == of else 1 - _share_where_tail(of - count, of, rare)
    return low, high


def _share_where_tail(count: int, of: int, tail: float) -> float:
    """The share p for which a binomial number reaches `count` with the probability `tail`, by halving."""
    numbers = np.arange(1, of + 1)
    choose = np.concatenate([[0.0], np.cumsum(np.log(of - numbers + 1) - np.log(numbers))])[count:]
    reached = np.arange(count, of + 1)
    low, high = 0.0, 1.0
    for _ in range(50):
        p = (low + high) / 2
        above = float(np.exp(choose + reached * math.log(p) + (of - reached) * math.log1p(-p)).sum())
        low, high = (p, high) if above < tail else (low, p)
    return (low + high) / 2


def percent(share: float) -> str:
    """A share of one as a percentage that never rounds to a false 0 or 100."""
    if share == 0 or share == 1:
        return f"{share:.0%}".replace("%", " %")
    if share >= 0.9999:
        return ">99.99 %"
    if share < 0.0001:
        return "<0.01 %"
    digits = 2 if share > 0.99 or share < 0.01 else 1
    return f"{100 * share:.{digits}f} %"
