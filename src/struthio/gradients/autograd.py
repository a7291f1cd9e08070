"""The slope by automatic differentiation: one forward, one backward, and no gradient for any parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.checks import UserError, no_inference_mode
from struthio.failed import failed
from struthio.rows import RowGenerator
from struthio.types import Model

NO_GRADIENT = (
    "the model's outputs carry no gradient: it is a score or label view, or it computes outside torch or under "
    "no_grad. Ask for scores alone (the attack square), let struthio audit put a stand-in in the place of the part "
    "without gradient, or in Python estimate the slope, gradient=Estimated(), or write StandIn(part)."
)

REFUSALS = ("requires grad", "require grad", "derivative for")  # what torch says where a part takes no such tensor


class NoGradient(UserError):
    """No gradient arrives at the input: the graph is interrupted, or a part refuses what carries one."""

    def __init__(self) -> None:
        super().__init__(NO_GRADIENT)


@dataclass(frozen=True)
class Autograd:
    """The exact gradient of the score."""

    def __call__(
        self,
        model: Model,
        see: Callable[[Tensor], Tensor],
        z: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: RowGenerator,
    ) -> tuple[Tensor, Tensor]:
        """The slope at z and the outputs there.

        Raises:
            NoGradient: where the model passes none.
            UserError: under torch.inference_mode, or where the backward pass fails.
        """
        no_inference_mode()
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            try:
                outputs = model(see(z))
            except RuntimeError as error:
                if any(words in str(error) for words in REFUSALS):
                    raise NoGradient from error
                raise
            grad = None
            if outputs.requires_grad:  # by its parameters alone, perhaps
                grad = _slope(score(outputs).sum(), z)
            if grad is None:
                raise NoGradient
        return grad, outputs.detach()


def _slope(gain: Tensor, z: Tensor) -> Tensor | None:
    try:
        return torch.autograd.grad(gain, z, allow_unused=True)[0]
    except (UserError, torch.OutOfMemoryError):
        raise
    except RuntimeError as error:
        raise failed(error, z) from error
