"""What a model must do to be attacked, checked once, in clear words."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.failed import failed
from struthio.meter import Ended
from struthio.types import Model


class ContractWarning(UserWarning):
    """Something about a model that makes attacks weaker than they look."""


def check_contract(
    model: Model, x: Tensor, labels: Tensor | None = None, limits: tuple[float, float] = (0.0, 1.0)
) -> Tensor:
    """Ask a model about some rows and refuse what cannot be attacked as it stands.

    Args:
        model: any callable from a batch to class scores.
        x: a few rows [n, ...], within the limits.
        labels: their classes [n], where known.
        limits: the natural range of the input.

    Returns:
        The model's outputs [n, classes].

    Raises:
        UserError: for inputs out of range or not finite, wrong channels, training mode, a model that fails or changes
            its input, outputs that are not finite scores of at least two classes, labels that are not classes.

    Warns:
        ContractWarning: where the outputs look like probabilities, of one class or of independent labels.
    """
    checks.inputs(x, *limits, "the model's natural range")
    checks.mode(model)
    outputs = _ask(model, x)
    checks.outputs(outputs, len(x))
    if not bool(outputs.isfinite().all()):
        rows = (~outputs.isfinite().all(1)).nonzero().flatten().tolist()
        raise UserError(
            f"the model's scores are NaN or infinite in {len(rows)} of {len(x)} rows (first: row {rows[0]})."
        )
    if looks_like_probabilities(outputs):
        warnings.warn(
            "the model's outputs look like probabilities: each row sums to 1. Attacks need logits; a softmax hides the "
            "gradient where the model is sure. Return the scores before the softmax, or wrap it: "
            "struthio.models.Logits(model).",
            ContractWarning,
            stacklevel=2,
        )
    elif bool(((outputs >= 0) & (outputs <= 1)).all()):
        warnings.warn(
            "all of the model's outputs lie between 0 and 1, as behind a sigmoid, which hides the gradient where the "
            "model is sure: return the scores before it. Of several labels that may hold at once, only the strongest "
            "is judged.",
            ContractWarning,
            stacklevel=2,
        )
    if labels is not None:
        checks.classes(labels, len(x), "labels")
        if int(labels.max()) >= outputs.shape[1] or int(labels.min()) < 0:
            raise UserError(
                f"labels run from {int(labels.min())} to {int(labels.max())}, but the model knows {outputs.shape[1]} "
                "classes, numbered from 0."
            )
    return outputs


def looks_like_probabilities(outputs: Tensor) -> bool:
    """Whether every row is nowhere negative and sums to 1."""
    return bool((outputs >= 0).all()) and bool(((outputs.sum(1) - 1).abs() < 1e-3).all())


@torch.no_grad()
def _ask(model: Model, x: Tensor) -> Tensor:
    asked = x.clone()
    try:
        outputs = model(asked)
    except (UserError, Ended):
        raise
    except Exception as error:
        raise failed(error, x) from error
    if not torch.equal(asked, x):
        raise UserError("the model changes its input in place, and an attack reads it again: let it work on a copy.")
    return outputs
