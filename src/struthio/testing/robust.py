"""A test that a model holds, for the tests of whoever releases it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from struthio import checks
from struthio.audit import Audit, audit
from struthio.data import Samples
from struthio.types import Model, Threat


def assert_robust(
    model: Model,
    data: Samples | tuple[Tensor, Tensor] | str,
    threats: Threat | str | Sequence[Threat | str],
    *,
    at_least: float,
    **options: Any,
) -> Audit:
    """Audit a model, and fail where its robust accuracy may be below a share.

    Args:
        model: as for `struthio.audit`.
        data: rows and labels.
        threats: one or several; rows must hold under all of them.
        at_least: in [0, 1], compared with the lower end of the 95 % interval of what no attack brought down.
        options: any other of `struthio.audit`, such as level="quick" or rows=200.

    Returns:
        The audit, for more assertions.

    Raises:
        AssertionError: where the lower limit is below the share; it names the figures and the doubts.
        UserError: for a share that is not in [0, 1], and as `struthio.audit` does.
    """
    checks.gate(at_least, "at_least")
    found = audit(model, data, threats, **options)
    if said := found.at_most.shortfall(at_least):
        doubts = ", ".join(doubt.name for doubt in found.doubts) or "none"
        raise AssertionError(f"{said}. Doubts: {doubts}.")
    return found
