"""Numbers as people read them: shares with their intervals, sizes in levels, seconds; and class names cut short."""

from __future__ import annotations

import math

import numpy as np


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


def likely(probability: float) -> str:
    """A network's probability: as `percent`, but a 1 that is only rounding is not called certain."""
    return percent(min(max(probability, 1e-9), 1 - 1e-9))


def size_text(size: float, p: float | None) -> str:
    """The size of a change: whole levels of 255 in the maximum norm as a fraction, counts whole, else four digits."""
    if not math.isfinite(size):
        return "none"
    if p == 0:
        return f"{size:.0f}"
    levels = 255 * size
    whole = p == math.inf and abs(levels - round(levels)) < 1e-3
    return f"{levels:.0f}/255" if whole and abs(size - round(size, 2)) > 1e-6 else f"{size:.4g}"


def seconds_text(seconds: float) -> str:
    """A time in seconds, minutes or hours, whichever reads best."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{seconds / 3600:.1f} h"


def short_name(name: str, longest: int = 24) -> str:
    """The first of a class's names, cut at a word where it is too long."""
    first = name.split(",")[0].strip()
    if len(first) <= longest:
        return first
    cut = first[: longest - 1]
    words = cut.rsplit(" ", 1)[0]
    return (words if len(words) > longest // 2 else cut).rstrip() + "…"


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
