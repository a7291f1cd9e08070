"""Deep contractive networks: each layer is to change little when its own input changes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.rows import RowGenerator
from struthio.train.layers import watched
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class Contractive(Recipe):
    """J(x, y) + weight * sum over layers of the mean over rows of |dh_l / dh_(l-1)|, Frobenius norms.

    h_l is what comes into the linear layer or convolution after the l-th, and at the end the logits; h_0 is x. The sum
    stands in for the norm of the whole Jacobian, which would be dear. Each norm is estimated by Hutchinson's method:
    E |v^T J|^2 = |J|^2 for random signs v. One weight is taken for all layers, of which the paper has one each.

    Args:
        weight: of the penalty.
        samples: random vectors a row and layer. The root of the estimate is a little low, less so with more of them.

    Raises:
        UserError: for a weight below 0, or fewer than one sample.
    """

    paper: ClassVar[str] = "Gu, Rigazio, 2014, arXiv 1412.5068"

    weight: float = 0.01
    samples: int = 1

    def __post_init__(self) -> None:
        checks.not_negative(self.weight, "weight")
        checks.count(self.samples, "samples")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The cross-entropy and the penalty."""
        with watched(model) as inputs:
            logits = model(x.detach().requires_grad_())
        values = [*inputs.values(), logits]
        loss = F.cross_entropy(logits, y)
        for before, after in pairwise(values):
            loss = loss + self.weight * self._steepness(before, after, moment.generator)
        return loss

    def _steepness(self, before: Tensor, after: Tensor, generator: RowGenerator) -> Tensor:
        """The mean over rows of the estimated |d after / d before|."""
        total = before.new_zeros(len(before))
        for _ in range(self.samples):
            signs = 2 * generator.integers(2, after.shape[1:]).to(after) - 1
            (slope,) = torch.autograd.grad(after, before, signs, create_graph=True)
            total = total + slope.flatten(1).square().sum(1) / self.samples
        return total.clamp(min=torch.finfo(total.dtype).tiny).sqrt().mean()
