"""A transfer matrix as a picture: the darker a cell, the more of what fools the row's model fools the column's."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Any

from struthio.explain.transfer_text import CLEAN, NOISE, OVER, words
from struthio.report.figure import INK, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Rectangle

    from struthio.explain.matrix import TransferMatrix

CELL, GAP = 0.86, 0.16  # inches: a cell's width, and the gap above the rows of chance
HIGH = 0.62  # inches: a cell's height
LETTER = 0.082  # inches: a letter of a name, on average
LINE, EDGE = 0.19, 0.25  # inches: a line of words, and the left margin
SLANT = 0.62  # of its length, which a slanted name is high
COLOURS = "Blues"  # one hue from light to dark: told apart by every eye, and in grey


def draw(matrix: TransferMatrix, path: Path, format: str = "png") -> None:
    """Save the matrix at `path`: a frame marks a model judged on what was made against itself."""
    from matplotlib.figure import Figure

    names, said = (*matrix.sources, *matrix.targets, NOISE, CLEAN), words(matrix)
    how = textwrap.wrap(f"{matrix.attack}, {matrix.threat}, {matrix.rows:,} inputs", 120)
    how.insert(
        0, f"errors in %, over inputs {OVER[matrix.over]}; 95 % intervals below; framed: the attacked model itself"
    )
    longest, down = max(map(len, names)) * LETTER, HIGH * (len(matrix.sources) + 2) + GAP
    top = 0.85 + LINE * len(how) + SLANT * max(map(len, matrix.targets)) * LETTER
    foot = 0.45 + LINE * len(said)
    width, tall = max(longest + 0.6 + CELL * len(matrix.targets) + longest, 7.6), top + down + foot
    figure = Figure(figsize=(width, tall), facecolor="white")
    place = ((longest + 0.4) / width, foot / tall, CELL * len(matrix.targets) / width, down / tall)
    _cells(figure.add_axes(place), matrix)
    figure.text(EDGE / width, 1 - 0.36 / tall, "What fools one model fools another", fontsize=13, color=INK)
    for number, line in enumerate(how):
        figure.text(EDGE / width, 1 - (0.6 + LINE * number) / tall, line, fontsize=8, color=PALE)
    for number, line in enumerate(said):
        figure.text(EDGE / width, (foot - 0.4 - LINE * number) / tall, line, fontsize=8, color=INK)
    figure.savefig(path, dpi=150, format=format)


def _cells(axes: Axes, matrix: TransferMatrix) -> None:
    """A cell for each pair, then the rows of chance and of clean inputs below a gap."""
    ends, own = matrix.intervals.tolist(), matrix.own.tolist()
    for row, rates in enumerate(matrix.rates.tolist()):
        for column, rate in enumerate(rates):
            _cell(axes, row, column, rate, ends[row][column])
            if own[row][column]:
                axes.add_patch(_square(row, column, fill=False, edgecolor=INK, linewidth=1.6, zorder=3, clip_on=False))
    below = len(matrix.sources) + GAP / HIGH
    clean = [1 - right / matrix.rows for right in matrix.right.tolist()]
    for row, rates in enumerate((matrix.noise.tolist(), clean)):
        for column, rate in enumerate(rates):
            _cell(axes, below + row, column, rate)
    _names(axes, matrix, below)


def _cell(axes: Axes, row: float, column: float, rate: float, ends: list[float] | None = None) -> None:
    from matplotlib import colormaps

    known = rate == rate
    shade = colormaps[COLOURS](0.85 * rate) if known else "white"
    axes.add_patch(_square(row, column, facecolor=shade, edgecolor="white"))
    ink = "white" if known and rate > 0.72 else INK
    place = row + (0.5 if ends is None else 0.4)
    axes.text(column + 0.5, place, _short(rate), ha="center", va="center", fontsize=10.5, color=ink)
    if ends is not None and known:
        between = f"{100 * ends[0]:.0f}\u2013{100 * ends[1]:.0f}"
        axes.text(column + 0.5, row + 0.74, between, ha="center", va="center", fontsize=6.5, color=ink, alpha=0.85)


def _square(row: float, column: float, **style: Any) -> Rectangle:
    from matplotlib.patches import Rectangle

    return Rectangle((column, row), 1, 1, **style)


def _short(rate: float) -> str:
    if rate != rate:
        return "\u2013"
    return f"{100 * rate:.1f}" if 0 < rate < 0.1 else f"{100 * rate:.0f}"


def _names(axes: Axes, matrix: TransferMatrix, below: float) -> None:
    """The judges above, the sources on the left."""
    axes.set_xlim(0, len(matrix.targets))
    axes.set_ylim(below + 2, 0)
    places = [*(row + 0.5 for row in range(len(matrix.sources))), below + 0.5, below + 1.5]
    axes.set_yticks(places, [*matrix.sources, NOISE, CLEAN])
    axes.set_xticks([column + 0.5 for column in range(len(matrix.targets))], matrix.targets)
    axes.tick_params(top=True, labeltop=True, bottom=False, labelbottom=False, length=0, labelsize=9.5, labelcolor=INK)
    for name in axes.get_xticklabels():
        name.set(rotation=35, ha="left", va="bottom", rotation_mode="anchor")
    for side in axes.spines.values():
        side.set_visible(False)
    corner = "judged by \u2192\nmade against \u2193"
    axes.annotate(
        corner, (0, 0), (-6, 4), textcoords="offset points", fontsize=8.5, color=PALE, ha="right", va="bottom"
    )
