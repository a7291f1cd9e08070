"""`struthio certify`: every option of it, and which of its two jobs is meant, a property or a data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Group, Parameter

from struthio.checks import UserError
from struthio.cli.declared import Count, Device, Json, Weights

PROPERTY = Group.create_ordered("Properties only")
ROWS = Group.create_ordered("Data sets only")
BOTH = Group.create_ordered("Both")


@Parameter(name="*")
@dataclass(frozen=True)
class Options:
    """What can be said to `struthio certify`, beside the model and the property."""

    timeout: Annotated[
        float, Parameter(group=PROPERTY, metavar="S", help="Seconds of search until the answer is unknown.")
    ] = 60.0
    output: Annotated[
        str | None,
        Parameter(group=PROPERTY, name=["--output", "-o"], metavar="FILE", help="Where a counterexample is written."),
    ] = None

    data: Annotated[
        str | None,
        Parameter(
            group=ROWS, name=["--data", "-d"], metavar="SPEC", help="data:digits, FOLDER, FILE.npz: struthio list data."
        ),
    ] = None
    threat: Annotated[
        str | None,
        Parameter(group=ROWS, name=["--threat", "-t"], metavar="SPEC", help="linf:0.1, l2:0.5 or l1:2."),
    ] = None
    count: Annotated[Count, Parameter(group=ROWS)] = 100
    method: Annotated[
        str,
        Parameter(
            group=ROWS,
            metavar="NAME",
            help="auto, interval, lipschitz, crown-interval, crown, alpha or split, fast and loose to slow and tight.",
        ),
    ] = "auto"
    weights: Annotated[Weights | None, Parameter(group=ROWS)] = None
    device: Annotated[Device | None, Parameter(group=ROWS)] = None

    json: Annotated[Json, Parameter(group=BOTH)] = False


def certify(
    model: Annotated[str, Parameter(help="A .onnx or .onnx.gz file; with --data anything that struthio can load.")],
    property_: Annotated[str | None, Parameter(name="PROPERTY", help="A .vnnlib or .vnnlib.gz file.")] = None,
    /,
    *,
    options: Options = Options(),
) -> int:
    """Prove what no attack can break: a property of a network, or rows of a data set.

    A property is answered with unsat (it holds: no counterexample exists),
    sat (with a counterexample, which onnxruntime has confirmed) or unknown.
    Of a data set, the share of rows is given that no change within the threat
    can move to another class.

    Exit status: 0 answered, 1 unknown when the time was up, 2 a mistake,
    130 Ctrl-C.
    """
    if (property_ is None) == (options.data is None):
        raise UserError(
            "give either a property (struthio certify NET.onnx PROPERTY.vnnlib) or data "
            "(struthio certify zoo:digits-robust --data data:digits --threat linf:0.05)."
        )
    if property_ is not None:
        from struthio.cli.certify_property import run_property

        return run_property(model, property_, options)
    from struthio.cli.certify_rows import run_rows

    return run_rows(model, options)
