"""`struthio transfer`: its options; the work is in `transfer_job.py`, which is read when there is some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from struthio.cli.declared import AttackName, AttackOption, Count, Device, Json, RowsAtOnce, Seed

HOW = Group.create_ordered("What is attacked, and how")
OUT = Group.create_ordered("What is left")


@Parameter(name="*")
@dataclass(frozen=True)
class TransferOptions:
    """What can be said to `struthio transfer`, beside the models."""

    data: Annotated[
        str | None,
        Parameter(
            group=HOW,
            name=["--data", "-d"],
            metavar="SPEC",
            help="data:digits, FOLDER, FILE.npz ...: struthio list data.",
        ),
    ] = None
    threat: Annotated[
        str | None,
        Parameter(
            group=HOW,
            name=["--threat", "-t"],
            metavar="SPEC",
            help="What may change, and by how much, such as linf:8/255 or l2:0.5.",
        ),
    ] = None
    attack: Annotated[AttackName, Parameter(group=HOW)] = "mi-fgsm"
    option: Annotated[AttackOption, Parameter(group=HOW)] = ()  # type: ignore[assignment]
    sources: Annotated[
        str | None,
        Parameter(group=HOW, metavar="NAME[,NAME]", help="Make inputs against these alone, such as have gradients."),
    ] = None
    over: Annotated[
        str,
        Parameter(
            group=HOW,
            metavar="WHICH",
            help="Count inputs that source and target classify rightly (both), every model (all), or the target.",
        ),
    ] = "both"
    levels: Annotated[
        bool, Parameter(group=HOW, negative="", show_default=False, help="Keep to the 256 levels of 8-bit pictures.")
    ] = False
    count: Annotated[Count, Parameter(group=HOW)] = 1000
    batch_size: Annotated[RowsAtOnce | None, Parameter(group=HOW)] = None
    seed: Annotated[Seed, Parameter(group=HOW)] = 0
    device: Annotated[Device | None, Parameter(group=HOW)] = None

    output: Annotated[
        str | None,
        Parameter(
            group=OUT, name=["--output", "-o"], metavar="DIR", help="The folder for transfer.png and transfer.json."
        ),
    ] = None
    json: Annotated[Json, Parameter(group=OUT)] = False


def transfer(
    *models: Annotated[
        str, Parameter(name="MODEL", help="zoo:NAME, FILE.py:FACTORY ...: struthio list models; or NAME=SPEC.")
    ],
    options: TransferOptions = TransferOptions(),
) -> int:
    """Attack each of several models, and ask all of them about what was found.

    A row of the table is the model that was attacked, a column the model that
    judges. Two last rows say what a random change of the same size does, and
    how often clean inputs are classified wrongly.

    Exit status: 0 done, 2 a mistake, 130 Ctrl-C (what was done is told).
    """
    from struthio.cli.transfer_job import run_transfer

    return run_transfer(models, options)
