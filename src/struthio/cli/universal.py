"""`struthio universal`: its options; the work is in `universal_job.py`, which is read when there is some."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from struthio.cli.declared import AttackOption, Device, Json, Seed, Weights

HOW = Group.create_ordered("What is fooled, and how")
OUT = Group.create_ordered("What is left")


@Parameter(name="*")
@dataclass(frozen=True)
class UniversalOptions:
    """What can be said to `struthio universal`, beside the model."""

    data: Annotated[
        str | None,
        Parameter(
            group=HOW,
            name=["--data", "-d"],
            metavar="SPEC",
            help="data:digits, FOLDER, FILE.npz ...: struthio list data. No labels are used.",
        ),
    ] = None
    threat: Annotated[
        str | None,
        Parameter(group=HOW, name=["--threat", "-t"], metavar="SPEC", help="linf:RADIUS or l2:RADIUS, as linf:10/255."),
    ] = None
    to: Annotated[
        str | None,
        Parameter(group=HOW, metavar="CLASS", help="All rows to this class, by name or number; else to any other."),
    ] = None
    attack: Annotated[
        str,
        Parameter(group=HOW, name=["--attack", "-a"], metavar="NAME", help="universal-gradient or universal-deepfool."),
    ] = "universal-gradient"
    option: Annotated[AttackOption, Parameter(group=HOW)] = ()  # type: ignore[assignment]
    weights: Annotated[Weights | None, Parameter(group=HOW)] = None
    fit: Annotated[
        int | None,
        Parameter(group=HOW, metavar="N", help="Find it on the first N rows: half of the data, at most 1000."),
    ] = None
    count: Annotated[
        int, Parameter(group=HOW, name=["--count", "-n"], metavar="N", help="Judge it on at most N rows after these.")
    ] = 1000
    seed: Annotated[Seed, Parameter(group=HOW)] = 0
    device: Annotated[Device | None, Parameter(group=HOW)] = None

    output: Annotated[
        str | None,
        Parameter(
            group=OUT,
            name=["--output", "-o"],
            metavar="DIR",
            help="The folder for change.safetensors, its picture change.png, and universal.json.",
        ),
    ] = None
    json: Annotated[Json, Parameter(group=OUT)] = False


def universal(
    model: Annotated[str, Parameter(name="MODEL", help="zoo:NAME, FILE.py:FACTORY ...: struthio list models.")],
    /,
    *,
    options: UniversalOptions = UniversalOptions(),
) -> int:
    """Find one change for many inputs, and judge it on inputs that it was not found on.

    A row is fooled when its class is no longer that of the clean input (with
    --to, when it becomes that class). A random change of the same radius is
    judged beside it.

    Exit status: 0 done, 2 a mistake, 130 Ctrl-C (what was found until then is
    kept and judged).
    """
    from struthio.cli.universal_job import run_universal

    return run_universal(model, options)
