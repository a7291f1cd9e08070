"""Tables for the terminal, which stay legible at 80 columns and when they are piped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.table import Table
from rich.text import Text


def listing(head: Sequence[str], rows: Iterable[Sequence[str]], wide: str = "") -> Table:
    """A plain table of words; the column `wide` takes what room is left, and the first is never broken."""
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    for index, name in enumerate(head):
        table.add_column(name, no_wrap=index == 0, ratio=1 if name == wide else None, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    return table


def entries(rows: Iterable[tuple[str, str, Sequence[str]]]) -> Table:
    """One thing an entry: its name, what it is, and below in pale letters what else is known."""
    table = Table(box=None, padding=(0, 2, 1, 0), pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column(overflow="fold")
    for name, what, others in rows:
        beside = " · ".join(other for other in others if other)
        text = Text(what)
        table.add_row(Text(name), text.append(f"\n{beside}", style="dim") if beside else text)
    return table


def facts(rows: Iterable[tuple[str, str, str]]) -> Table:
    """One fact a line: what it is, its value, and in pale letters what belongs to it."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value, beside in rows:
        text = Text(value, style="bold" if beside else "")
        table.add_row(name, text.append(f"  {beside}", style="not bold dim") if beside else text)
    return table


def pictures(rows: Iterable[Sequence[str]]) -> Table:
    """One attacked picture a line; a cell may have two lines, such as a class over its probability."""
    table = Table(box=box.HORIZONTALS, padding=(0, 1, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("picture", overflow="fold", min_width=12)
    for name in ("before", "after"):
        table.add_column(name, overflow="fold", min_width=11)
    for name in ("size\ntime", "PNG", "JPEG 95", "JPEG 75"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*map(_cell, row))
    return table


def _cell(words: str) -> Text:
    """The first line as it is, the others pale; a yes green, a no red."""
    first, _, rest = words.partition("\n")
    text = Text(first, style={"yes": "green", "no": "red"}.get(first, ""))
    return text.append(f"\n{rest}", style="dim") if rest else text
