"""Numbers as people read them: shares with their intervals, sizes in levels, seconds; and class names cut short."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from struthio.shares import percent


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


def class_text(label: int, names: Sequence[str]) -> str:
    """A class by its name, or by its number where it has no name that says more."""
    name = names[label] if 0 <= label < len(names) else str(label)
    return f"class {label}" if name == str(label) else short_name(name)


def share_text(share: Mapping[str, float] | None, of: str = "rows") -> tuple[str, str]:
    """A share's figures as a percentage, and beside it its counts and its 95 % interval."""
    if share is None:
        return "none", f"no {of}"
    within = f"{percent(share['low'])} to {percent(share['high'])}"
    return percent(share["share"]), f"{share['count']} of {share['of']} {of} (95 %: {within})"
