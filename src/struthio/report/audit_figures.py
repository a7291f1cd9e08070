"""Where everything stands in the figures of an audit's page, in percent of their width and height."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from struthio.audit.verdict import Count, Verdict
from struthio.shares import Share

FATES = {  # of a row, in the order of the bar: its word and what it means
    "proved": "proved to hold",
    "open": "held against every attack, not proved",
    "fell": "fell to an attack",
    "mistaken": "mistaken before any attack",
    "failed": "on which the model raised an error",
}


@dataclass(frozen=True)
class Piece:
    """One colour of a bar.

    Attributes:
        fate: of `FATES`.
        count: of rows.
        left: where it begins, in percent.
        width: in percent.
    """

    fate: str
    count: int
    left: float
    width: float

    @property
    def meaning(self) -> str:
        """For the legend."""
        return FATES[self.fate]


def pieces(count: Count) -> list[Piece]:
    """What became of all rows, as one bar: what was proved first, then what held, fell, and was wrong before."""
    counts = {
        "proved": count.certified,
        "open": count.held - count.certified,
        "fell": max(count.correct - count.held, 0),
        "mistaken": count.rows - count.correct - count.failed,
        "failed": count.failed,
    }
    found, left = [], 0.0
    for fate, number in counts.items():
        width = 100 * number / count.rows
        found.append(Piece(fate, number, left, width))
        left += width
    return found


@dataclass(frozen=True)
class Curve:
    """The share of rows that stand, over the radius.

    Attributes:
        line: the points of the line, "x,y x,y ...", in percent of the plot from its upper left corner.
        ticks: radii to write below it, each with its place.
        eps: where the audited radius is, or None where it is beyond the plot.
        median: where half of the rows fell, or None.
    """

    line: str
    ticks: list[tuple[float, str]]
    eps: float | None
    median: float | None


def curve(verdict: Verdict) -> Curve | None:
    """The curve of a verdict; None where no smallest change was looked for."""
    points = verdict.curve()
    if not points:
        return None
    finite = math.isfinite(verdict.eps)
    end = max(points[-1][0], 1.15 * verdict.eps if finite else 0)

    def place(radius: float) -> float | None:
        return 100 * radius / end if math.isfinite(radius) and radius <= end else None

    if points[-1][0] < end:
        points = [*points, (end, points[-1][1])]
    line = " ".join(f"{100 * radius / end:.2f},{100 - 100 * share:.2f}" for radius, share in points)
    ticks = [(100 * radius / end, f"{radius:.6g}") for radius in round_numbers(end)]
    return Curve(line, ticks, place(verdict.eps), place(verdict.median))


@dataclass(frozen=True)
class Detection:
    """What a detector flags of the inputs found, over what it flags of clean ones.

    Attributes:
        line: the points of the ROC curve, as those of `Curve`.
        at: where the threshold that is set stands on it.
        auc: the area under the curve.
        clean: of the clean rows, those flagged.
        found: of the inputs found, those flagged.
    """

    line: str
    at: tuple[float, float]
    auc: float
    clean: Share
    found: Share


def detection(verdict: Verdict) -> Detection | None:
    """The ROC curve of a verdict; None where the model cannot abstain or nothing was found."""
    roc = verdict.roc
    if roc is None:
        return None
    line = " ".join(f"{100 * clean:.2f},{100 - 100 * found:.2f}" for clean, found in roc.corners().tolist())
    clean, found = verdict.flagged
    return Detection(line, (100 * clean.share, 100 - 100 * found.share), roc.auc, clean, found)


def round_numbers(end: float, most: int = 6) -> Sequence[float]:
    """Zero and its multiples of 1, 2 or 5 times a power of ten, up to `end`; no more than `most`."""
    power = 10.0 ** math.floor(math.log10(end / most))
    step = next(factor * power for factor in (1, 2, 5, 10) if end / (factor * power) < most)
    return [number * step for number in range(int(end / step + 1e-9) + 1)]
