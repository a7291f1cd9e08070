"""The work of `struthio gauntlet`: progress, the table, and the board in a folder."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from struthio.cli import terminal
from struthio.cli.gauntlet import GauntletOptions
from struthio.data.files import replacing, writable_folder
from struthio.gauntlet import gauntlet, rows_named
from struthio.gauntlet.board import Tell
from struthio.gauntlet.words import HEAD, Figures, cells, figures, markdown, summary
from struthio.report import table

BOARD, FIGURES = "gauntlet.md", "gauntlet.json"


def run_gauntlet(names: Sequence[str], options: GauntletOptions) -> int:
    """Run the rows, print the board and leave it where the options say; gives the exit status."""
    if options.list:
        return _list(names, options)
    try:
        with _progress(len(rows_named(names))) as tell:
            board = gauntlet(
                names, count=options.count, folder=options.output, cifar=options.data, seed=options.seed, tell=tell
            )
    except KeyboardInterrupt:
        if options.output is not None:
            terminal.note(f"what was finished is kept in {options.output}; the same command goes on from there.")
        raise
    said = terminal.finite(figures(board))
    if options.output is not None:
        _leave(said, options.output)
    if options.json:
        terminal.show_json(said)
    else:
        terminal.show(table.listing(HEAD, cells(said), wide="doubts"), summary(said))
        if options.output is not None:
            terminal.show(f"\nkept in {options.output}: {BOARD}, {FIGURES}")
    return 0 if all(row.get("as_it_should", True) for row in said["rows"].values()) else 1


def _leave(said: Figures, output: str) -> None:
    folder = writable_folder(output)
    texts = {BOARD: markdown(said), FIGURES: json.dumps(said, indent=2, ensure_ascii=False) + "\n"}
    for name, text in texts.items():
        with replacing(folder / name) as beside:
            beside.write_text(text, encoding="utf-8")


def _list(names: Sequence[str], options: GauntletOptions) -> int:
    rows = rows_named(names)
    if options.json:
        terminal.show_json([
            {"name": name, "what": row.what, "paper": row.paper, "known": str(row.known), "data": row.data}
            for name, row in rows.items()
        ])  # fmt: skip
        return 0
    terminal.show(table.entries((name, row.what, [row.paper, f"known: {row.known}"]) for name, row in rows.items()))
    return 0


@contextmanager
def _progress(rows: int) -> Iterator[Tell]:
    """One bar over all rows, with the part under way."""
    with terminal.bar() as bar:
        task = bar.add_task("gauntlet", total=rows, so_far="")

        def tell(row: str, part: str, done: int) -> None:
            bar.update(task, description=row, completed=done, so_far=f", {part}")

        yield tell
