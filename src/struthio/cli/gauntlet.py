"""`struthio gauntlet`: its options; the work is in `gauntlet_job.py`, which is read when there is some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter

from struthio.cli.declared import Json, Seed


@Parameter(name="*")
@dataclass(frozen=True)
class GauntletOptions:
    """What can be said to `struthio gauntlet`, beside the names of rows."""

    count: Annotated[
        int, Parameter(name=["--count", "-n"], metavar="N", help="Inputs that each row is tried on, at most 1,000.")
    ] = 100
    data: Annotated[
        str | None,
        Parameter(
            name=["--data", "-d"],
            metavar="SPEC",
            help="CIFAR-10 in a folder or an .npz, with train and test; without it, rows that need it are left out.",
        ),
    ] = None
    seed: Seed = 0
    output: Annotated[
        str | None,
        Parameter(
            name=["--output", "-o"],
            metavar="DIR",
            help="Where networks and findings are kept as they come, with the board. The same command goes on there.",
        ),
    ] = None
    list: Annotated[bool, Parameter(negative="", show_default=False, help="Say which rows there are.")] = False
    json: Json = False


def gauntlet(
    *rows: Annotated[str, Parameter(name="ROW", help="Rows by name; all of them where none is named.")],
    options: GauntletOptions = GauntletOptions(),
) -> int:
    """Let every defence meet a naive attack and the audit, beside what is known of it.

    A row is one defence on a small network: what is right without an attack,
    what PGD leaves that takes the model as it is, what the audit leaves after
    its repairs, and which doubts it raised. Networks are trained at the first
    time and kept; Ctrl-C or a kill lose the batch under way.

    Exit status: 0 every row as it should be, 1 not so, 2 a mistake, 130 Ctrl-C.
    """
    from struthio.cli.gauntlet_job import run_gauntlet

    return run_gauntlet(rows, options)
