"""What goes where: tables and JSON to standard output, progress and notes to standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.progress import Progress


def out() -> Console:
    """Standard output."""
    from rich.console import Console

    return Console(highlight=False, soft_wrap=False)


def err() -> Console:
    """Standard error."""
    from rich.console import Console

    return Console(stderr=True, highlight=False)


def show(*parts: RenderableType) -> None:
    """Print tables and lines."""
    console = out()
    for part in parts:
        console.print(part, markup=False) if isinstance(part, str) else console.print(part)


def bar(unit: str = "rows") -> Progress:
    """A bar on standard error: rows done, time left, and what is said `so_far`; silent where it is piped."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    console = err()
    columns = (
        TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TextColumn(f"{unit},"),
        TimeRemainingColumn(compact=True), TextColumn("left{task.fields[so_far]}"),
    )  # fmt: skip
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


def show_json(value: Any) -> None:
    """Print one JSON value and nothing else; what is not finite becomes null."""
    sys.stdout.write(json.dumps(finite(value), indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def note(message: str) -> None:
    """A remark beside the results."""
    _said("note", "yellow", message)


def error(message: str) -> None:
    """A mistake, in plain words."""
    _said("error", "bold red", message)


def _said(kind: str, style: str, message: str) -> None:
    from rich.text import Text

    err().print(Text(f"{kind}: ", style=style).append(message, style="default not bold"), soft_wrap=True)


@contextmanager
def quiet_output() -> Iterator[None]:
    """What a user's own code prints goes to standard error, so that JSON and tables stay whole."""
    with redirect_stdout(sys.stderr):
        yield


def finite(value: Any) -> Any:
    """A value for JSON, with null in place of what is not finite."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and value - value != 0 else value
