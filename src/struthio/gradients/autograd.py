"""The slope by automatic differentiation: one forward, one backward, and no gradient for any parameter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.rows import RowGenerator
from struthio.types import Model

NO_GRADIENT = (
    "the model's outputs carry no gradient: it is a score or label view, or it computes outside torch or under "
    "no_grad. Estimate the slope from queries, gradient=Estimated(), or put a stand-in around the part without "
    "gradient, StandIn(part)."
)


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
        """The slope at z and the outputs there. Raises UserError where the model passes no gradient."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            outputs = model(see(z))
            grad = None
            if outputs.requires_grad:  # by its parameters alone, perhaps
                (grad,) = torch.autograd.grad(score(outputs).sum(), z, allow_unused=True)
            if grad is None:
                raise UserError(NO_GRADIENT)
        return grad, outputs.detach()
