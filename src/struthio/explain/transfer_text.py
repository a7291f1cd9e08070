"""A transfer matrix as text of at most 80 columns where names allow, and as figures by name for JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from struthio.shares import percent

if TYPE_CHECKING:
    from struthio.explain.matrix import TransferMatrix

WIDE = 80
NOISE, CLEAN = "random change", "clean, all inputs"
OVER = {
    "both": "classified rightly by source and target",
    "all": "classified rightly by every model",
    "target": "classified rightly by the target",
}


def text(matrix: TransferMatrix) -> str:
    """The table, and below it what it says in words."""
    what = [f"errors in %, over inputs {OVER[matrix.over]} ({matrix.rows:,} in all)", matrix.attack, matrix.threat]
    return "\n".join([*what, "", *_table(matrix), "", *words(matrix)])


def _table(matrix: TransferMatrix) -> list[str]:
    clean = [1 - right / matrix.rows for right in matrix.right.tolist()]
    rows = [
        ("made against", matrix.targets),
        *((name, tuple(map(_share, rates))) for name, rates in zip(matrix.sources, matrix.rates.tolist(), strict=True)),
        (NOISE, tuple(map(_share, matrix.noise.tolist()))),
        (CLEAN, tuple(map(_share, clean))),
    ]
    first = max(len(name) for name, _ in rows)
    if first + sum(max(len(name), 5) + 2 for name in matrix.targets) > WIDE:
        return _numbered(matrix, rows[1:])
    widths = [max(len(name), 5) for name in matrix.targets]
    return [
        name.ljust(first) + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
        for name, cells in rows
    ]


def _numbered(matrix: TransferMatrix, rows: list[tuple[str, tuple[str, ...]]]) -> list[str]:
    """The table with numbers in place of names above its columns, and a line that says whose they are."""
    first = max(len("made against"), *(len(name) for name, _ in rows))
    head = "made against".ljust(first) + "".join(f"{place + 1:>6}" for place in range(len(matrix.targets)))
    key = ", ".join(f"{place + 1} {name}" for place, name in enumerate(matrix.targets))
    return [head, *(name.ljust(first) + "".join(f"{cell:>6}" for cell in cells) for name, cells in rows), f"({key})"]


def _share(rate: float) -> str:
    return "-" if rate != rate else f"{100 * rate:.1f}"


def words(matrix: TransferMatrix) -> list[str]:
    """How much is passed on, against chance; how one-sided it is; and how sure the numbers are."""
    said = []
    if matrix.transfer == matrix.transfer:
        noise = float(matrix.noise.nanmean())
        said.append(f"passed on to another model: {percent(matrix.transfer)} on average, {percent(noise)} by chance")
    pairs = matrix.one_way()
    if pairs:
        source, target, most, _ = pairs[0]
        apart = sum(pair[3] for pair in pairs)
        mean = _points(matrix.asymmetry)
        said.append(f"asymmetry: {mean} on average; most: {source} to {target}, {_points(most)}")
        said.append(f"the two directions differ beyond their 95 % intervals in {apart} of {len(pairs)} pairs")
    ends = matrix.intervals[matrix.of > 0]
    if len(ends):
        said.append(f"the widest 95 % interval of a cell: {_points(float((ends[:, 1] - ends[:, 0]).max()))}")
    return said


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"


def summary(matrix: TransferMatrix) -> dict[str, Any]:
    """All figures by name; cells with their counts and 95 % intervals."""
    ends = matrix.intervals.tolist()
    cells = [
        {
            "source": source,
            "target": target,
            "share": float(matrix.rates[i, j]),
            "count": int(matrix.wrong[i, j]),
            "of": int(matrix.of[i, j]),
            "low": ends[i][j][0],
            "high": ends[i][j][1],
        }
        for i, source in enumerate(matrix.sources)
        for j, target in enumerate(matrix.targets)
    ]
    by_target = zip(matrix.targets, matrix.noise_wrong.tolist(), matrix.noise_of.tolist(), strict=True)
    return {
        "attack": matrix.attack,
        "threat": matrix.threat,
        "over": matrix.over,
        "rows": matrix.rows,
        "cells": cells,
        "noise": [{"target": name, "count": count, "of": of} for name, count, of in by_target],
        "clean_accuracy": {
            name: right / matrix.rows for name, right in zip(matrix.targets, matrix.right.tolist(), strict=True)
        },
        "transfer": matrix.transfer,
        "asymmetry": matrix.asymmetry,
        "pairs": [
            {"source": source, "target": target, "difference": more, "beyond_intervals": apart}
            for source, target, more, apart in matrix.one_way()
        ],
    }
