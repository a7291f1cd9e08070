"""`struthio audit`: every option of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from struthio.cli.declared import Count, Defenses, Device, Json, RowsAtOnce, Seed, Weights

WHAT = Group.create_ordered("What is tried")
GATE = Group.create_ordered("A gate for releases")
RUN = Group.create_ordered("How it runs")
OUT = Group.create_ordered("What is left")


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What can be said to `struthio audit`, beside the model and the data."""

    threat: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT,
            name=["--threat", "-t"],
            metavar="SPEC",
            negative="",
            show_default=False,
            help="What may change, such as linf:8/255; given several times, the worst of all is said too.",
        ),
    ] = ()
    level: Annotated[
        str,
        Parameter(
            group=WHAT,
            metavar="NAME",
            help="quick, standard or thorough; standard-aa is AutoAttack as published.",
        ),
    ] = "standard"
    count: Annotated[Count | None, Parameter(group=WHAT)] = None
    certify: Annotated[
        str, Parameter(group=WHAT, metavar="NAME", help="How rows are proved to hold: auto, none, crown, split, ...")
    ] = "auto"
    defense: Annotated[Defenses, Parameter(group=WHAT)] = ()
    stand_in: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT,
            metavar="PART=identity",
            negative="",
            show_default=False,
            help="Where the gradient passes a part of the model as if it were not there.",
        ),
    ] = ()
    surrogate: Annotated[
        tuple[str, ...],
        Parameter(
            group=WHAT,
            metavar="SPEC",
            negative="",
            show_default=False,
            help="Another model of the same classes: what is made for it is tried on this one. May be repeated.",
        ),
    ] = ()
    repair: Annotated[
        bool,
        Parameter(
            group=WHAT, show_default=False, help="Lay open what hides the gradient, or attack the model as it is."
        ),
    ] = True
    compare: Annotated[
        str | None,
        Parameter(group=WHAT, metavar="LEVEL", help="Run this level too and say what differs, such as standard-aa."),
    ] = None

    at_least: Annotated[
        float | None,
        Parameter(
            group=GATE,
            metavar="SHARE",
            help="Exit with 1 where robust accuracy, at the lower end of its 95 % interval, is below this share.",
        ),
    ] = None

    weights: Annotated[Weights | None, Parameter(group=RUN)] = None
    device: Annotated[Device | None, Parameter(group=RUN)] = None
    seed: Annotated[Seed, Parameter(group=RUN)] = 0
    batch_size: Annotated[
        RowsAtOnce | None,
        Parameter(group=RUN, help="Rows at once. What is learnt from the first batch can differ with it, so keep it."),
    ] = None
    workers: Annotated[
        str | None,
        Parameter(group=RUN, metavar="N", help="So many processes, or a Ray cluster: ray, ray:N, ray://HOST:PORT."),
    ] = None

    output: Annotated[
        str | None,
        Parameter(
            group=OUT,
            name=["--output", "-o"],
            metavar="DIR",
            help="Where the findings are kept as they come, with the report. The same command goes on with them.",
        ),
    ] = None
    json: Annotated[Json, Parameter(group=OUT)] = False


def audit(
    model: Annotated[str, Parameter(help="zoo:digits-robust, FILE.onnx, FILE.pt2, package.module:name, ...")],
    data: Annotated[str, Parameter(help="data:digits, FOLDER, FILE.npz, ...: struthio list data.")],
    /,
    *,
    options: Options = Options(),
) -> int:
    """Say how robust a model is, between which bounds and with which doubts.

    No attack that is known left more right than the upper bound; no attack
    at all can leave less than the lower one, which is proved. Ctrl-C, a kill
    or a full disk lose at most the batch under way: the same command with the
    same -o goes on.

    Exit status: 0 done, 1 below --at-least, 2 a mistake, 130 Ctrl-C.
    """
    from struthio.cli.audit_job import run_audit

    return run_audit(model, data, options)
