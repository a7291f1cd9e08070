"""`struthio harden`: every option of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from struthio.cli.declared import Device, Json, Seed

WHAT = Group.create_ordered("What is trained")
RUN = Group.create_ordered("How it runs")
OUT = Group.create_ordered("What is left")


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What can be said to `struthio harden`, beside the recipe."""

    model: Annotated[
        str | None,
        Parameter(
            group=WHAT, metavar="SPEC", help="What is trained, in place of the recipe's own: struthio list models."
        ),
    ] = None
    data: Annotated[
        str | None,
        Parameter(group=WHAT, metavar="SPEC", help="Labelled rows, in place of the recipe's own: struthio list data."),
    ] = None
    held: Annotated[
        str | None,
        Parameter(
            group=WHAT,
            metavar="SPEC",
            help="Rows for the evaluation on the way; without, some of the data is kept out of training.",
        ),
    ] = None
    epochs: Annotated[
        int | None,
        Parameter(group=WHAT, metavar="N", help="How often every row is seen, in place of the recipe's own."),
    ] = None
    seed: Annotated[Seed | None, Parameter(group=WHAT)] = None

    device: Annotated[Device | None, Parameter(group=RUN)] = None
    devices: Annotated[
        str, Parameter(group=RUN, metavar="N", help="So many processes, one a GPU; or workers of a Ray cluster: ray:N.")
    ] = "1"
    nodes: Annotated[
        int, Parameter(group=RUN, metavar="M", help="So many machines; start the same command on each.")
    ] = 1
    meet: Annotated[
        str | None, Parameter(group=RUN, metavar="HOST:PORT", help="Where several machines meet: one of them.")
    ] = None

    output: Annotated[
        str | None,
        Parameter(
            group=OUT,
            name=["--output", "-o"],
            metavar="DIR",
            help="Where checkpoints and weights go; by default hardened/RECIPE. The same command goes on from there.",
        ),
    ] = None
    logs: Annotated[
        bool, Parameter(group=OUT, negative="", show_default=False, help="Write TensorBoard logs to DIR/logs.")
    ] = False
    json: Annotated[Json, Parameter(group=OUT)] = False


def harden(
    recipe: Annotated[
        str,
        Parameter(metavar="RECIPE", help="A recipe file (.toml) or the name of a ready one: struthio list recipes."),
    ],
    /,
    *,
    options: Options = Options(),
) -> int:
    """Train a model by a recipe, so that it holds against an adversary.

    Rows that are not trained on say on the way how good it is, clean and under
    attack; the best weights are kept. Ctrl-C, a kill or a full disk lose at
    most the work since the last checkpoint: the same command goes on, and ends
    with the very same weights.

    Exit status: 0 done, 2 a mistake or a loss that is no number, 130 Ctrl-C.
    """
    from struthio.cli.harden_job import run_harden

    return run_harden(recipe, options)
