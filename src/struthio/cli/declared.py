"""Options that several commands have, declared once; each command says in which group its own stand."""

from __future__ import annotations

from typing import Annotated

from cyclopts import Parameter

AttackName = Annotated[str, Parameter(name=["--attack", "-a"], metavar="NAME", help="See: struthio list attacks.")]
AttackOption = Annotated[
    list[str],
    Parameter(
        name=["--option", "-O"],
        negative="",
        metavar="NAME=VALUE",
        show_default=False,
        help="An option of the attack, such as -O loss=dlr; struthio show ATTACK lists them. May be repeated.",
    ),
]
Count = Annotated[int, Parameter(name=["--count", "-n"], metavar="N", help="At most so many rows.")]
Defenses = Annotated[
    tuple[str, ...],
    Parameter(
        negative="",
        metavar="NAME[:OPTION=VALUE]",
        show_default=False,
        help="Put this around the model, such as jpeg:50: struthio list defenses. May be repeated.",
    ),
]
Device = Annotated[str, Parameter(metavar="NAME", help="cpu or cuda; cuda where there is one, if not said.")]
Json = Annotated[bool, Parameter(negative="", show_default=False, help="Print JSON in place of tables.")]
RowsAtOnce = Annotated[int, Parameter(metavar="N", help="Rows at once; no answer depends on it.")]
Seed = Annotated[int, Parameter(metavar="N", help="Of the random numbers.")]
Weights = Annotated[str, Parameter(metavar="FILE", help="Weights for a model from code: .safetensors, .pt, .pth.")]
