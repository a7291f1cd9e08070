"""The board in figures and in words: what a cell says, for the terminal and for a page."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from struthio.gauntlet.board import Board
from struthio.gauntlet.outcome import as_it_should, right_doubts, verdict
from struthio.gauntlet.row import Row
from struthio.shares import Share, percent

HEAD = ("row", "clean", "naive", "audit", "doubts", "verdict")
PAGE_HEAD = ("row", "defence", "threat", "clean", "naive", "audit", "known", "doubts raised", "verdict")
Figures = Mapping[str, Any]


def figures(board: Board) -> dict[str, Any]:
    """For machines: plain numbers, lists and texts."""
    return {"asked": dict(board.asked), "rows": {name: _figures(board, name, row) for name, row in board.rows.items()}}


def _figures(board: Board, name: str, row: Row) -> dict[str, Any]:
    known = {"left": row.known.left, "where": row.known.where, "source": row.known.source, "text": str(row.known)}
    about = {
        "defence": row.what, "paper": row.paper, "threat": row.threat, "data": row.data, "sound": row.sound,
        "known": known, "expected_doubts": sorted(row.doubts), "limit": None if row.sound else row.limit,
    }  # fmt: skip
    found = board.outcomes.get(name)
    if found is None:
        return {**about, "left_out": board.left_out[name]}
    counted = [what for what in ("clean", "naive", "audited", "beyond") if getattr(found, what) is not None]
    shares = {what: Share(getattr(found, what), found.of).figures() for what in counted}
    judged = {
        "right_doubts": right_doubts(row, found), "verdict": verdict(row, found),
        "as_it_should": as_it_should(row, found),
    }  # fmt: skip
    return {**about, **found.figures(), "shares": shares, **judged}


def cells(said: Figures) -> Iterator[tuple[str, ...]]:
    """One row a line, under `HEAD`; rows that were left out say why in place of their doubts."""
    for name, row in said["rows"].items():
        if "left_out" in row:
            yield (name, "", "", "", f"left out: {row['left_out']}", "")
        else:
            yield (name, *_shares(row), _doubts(row), _verdict(row))


def markdown(said: Figures) -> str:
    """The board as a table in Markdown, with what is known of each row beside it, and what it comes to."""
    lines = ["| " + " | ".join(PAGE_HEAD) + " |", "|" + "---|" * len(PAGE_HEAD)]
    for (name, row), (_, *shares, doubts, judged) in zip(said["rows"].items(), cells(said), strict=True):
        line = (f"`{name}`", row["defence"], row["threat"], *shares, row["known"]["text"], doubts, judged)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |")
    return "\n".join(lines) + f"\n\n{summary(said)}\n"


def summary(said: Figures) -> str:
    """One sentence: how many rows came out as they should, and which did not."""
    tried = {name: row for name, row in said["rows"].items() if "left_out" not in row}
    wrong = [name for name, row in tried.items() if not row["as_it_should"]]
    left_out = len(said["rows"]) - len(tried)
    right, each = len(tried) - len(wrong), said["asked"]["count"]
    first = f"{right} of {len(tried)} rows came out as they should on {each} inputs each"
    return (
        first
        + (f", {left_out} were left out" if left_out else "")
        + (f"; not so: {', '.join(wrong)}." if wrong else ".")
    )


def _shares(row: Figures) -> tuple[str, ...]:
    return tuple(percent(row["shares"][what]["share"]) for what in ("clean", "naive", "audited"))


def _verdict(row: Figures) -> str:
    """With the share that no attack can bring down, where that is known."""
    bound = row["shares"].get("beyond")
    return row["verdict"] if bound is None else f"{row['verdict']} ({percent(bound['share'])} out of reach)"


def _doubts(row: Figures) -> str:
    """Those raised; beside them those that are missing, or that a sound model should not get."""
    raised = ", ".join(row["doubts"]) or "none"
    if row["sound"]:
        return f"false: {raised}" if row["doubts"] else raised
    missing = [doubt for doubt in row["expected_doubts"] if doubt not in row["doubts"]]
    return f"{raised}; missing: {', '.join(missing)}" if missing else raised
