"""What is said of an audit: the interval first, then the doubts, then what it cost."""

from __future__ import annotations

import math
from typing import Any

from rich.text import Text

from struthio.audit.summary import Audit
from struthio.audit.verdict import Verdict
from struthio.cli import terminal
from struthio.cli.audit import Options
from struthio.report import table
from struthio.report.numbers import seconds_text, size_text
from struthio.shares import Share, percent


def tell(found: Audit, options: Options, other: Audit | None) -> None:
    """Print the audit as tables or as one JSON value."""
    if options.json:
        figures: dict[str, Any] = found.figures()
        terminal.show_json(figures if other is None else {**figures, "compared": other.figures()})
        return
    for text, verdict in found.threats.items():
        terminal.show(Text(f"\n{text}", style="bold"), table.facts(_facts(verdict)))
    if found.job["labels"] != "of the data":
        terminal.note("the data has no labels: the model's own answers stand in, and clean accuracy says nothing.")
    if not any(verdict.count.correct for verdict in found.threats.values()):
        terminal.note("the model is right on no row, so nothing was attacked. Are these the labels of its own classes?")
    if found.worst is not None:
        terminal.show(Text("\nall threats together", style="bold"), table.facts(_bounds(found)))
    _doubts(found)
    if other is not None:
        _compared(found, other, options)
    if options.output is not None:
        terminal.show(f"\nreport: {options.output}/report.html")


def _facts(verdict: Verdict) -> list[tuple[str, str, str]]:
    """One line a fact."""
    rows, wins = verdict.count.rows, {name: count for name, count in verdict.wins.items() if count}
    won = ", ".join(f"{name} {count}" for name, count in wins.items()) or "nothing"
    lines = [
        ("clean accuracy", percent(verdict.clean.share), _beside(verdict.clean)),
        *_bounds(verdict),
        ("rows brought down", won, ""),
    ]
    if math.isfinite(verdict.median):
        size = size_text(verdict.median, verdict.p)
        lines.append(("median smallest change", size, f"over the first {len(verdict.smallest)} rows"))
    if verdict.errors:
        first = next(iter(verdict.errors.items()))
        lines.append(("failed", f"{len(verdict.errors)} rows", f"row {first[0]}: {first[1]}"))
    cost = f"{verdict.forwards / rows:.0f} forwards and {verdict.backwards / rows:.0f} backwards a row"
    return [*lines, ("cost", seconds_text(verdict.seconds), cost)]


def _bounds(found: Audit | Verdict) -> list[tuple[str, str, str]]:
    tried = [found] if isinstance(found, Verdict) else found.threats.values()
    proved = _beside(found.at_least) + ", proved"
    if not any(verdict.certify != "none" and verdict.draws == 1 for verdict in tried):
        proved = "nothing was tried to be proved"
    return [
        ("robust accuracy", f"at most {percent(found.at_most.share)}", _beside(found.at_most) + ", attacked"),
        ("", f"at least {percent(found.at_least.share)}", proved),
    ]


def _beside(share: Share) -> str:
    return f"{share.count} of {share.of}, 95 % interval {percent(share.low)} to {percent(share.high)}"


def _doubts(found: Audit) -> None:
    if not found.doubts:
        terminal.show("\nno doubts were found")
        return
    terminal.show(Text("\ndoubts", style="bold"))
    rows = ((d.name, d.title, (d.evidence, d.remedy or "Nothing was done about it.")) for d in found.doubts)
    terminal.show(table.entries(rows))


def _compared(found: Audit, other: Audit, options: Options) -> None:
    """Two levels side by side, threat by threat."""
    rows = []
    for text, verdict in found.threats.items():
        for level, one in ((options.level, verdict), (str(options.compare), other.threats[text])):
            passes = (one.forwards + one.backwards) / one.count.rows
            rows.append((text, level, percent(one.at_most.share), f"{passes:.0f}", seconds_text(one.seconds)))
    head = ("threat", "level", "left", "forwards + backwards a row", "time")
    terminal.show(Text("\ncompared", style="bold"), table.listing(head, rows))
