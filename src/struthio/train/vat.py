"""Virtual adversarial training: the answer is to hold in the direction, found without labels, where it changes most."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from struthio import checks
from struthio.losses import Divergence
from struthio.rows import RowGenerator
from struthio.threats import L2
from struthio.train.adversarial import WithThreat, whole_step
from struthio.train.recipe import Moment
from struthio.types import Threat

UNIT = L2(1.0, box=None)


@dataclass(frozen=True)
class VAT(WithThreat):
    """J(x, y) + weight KL(p(x) || p(x + r)), p(x) held constant; r is found from the answers alone.

    r points along the leading eigenvector of the divergence's Hessian at x, found by power iteration: d becomes the
    slope of the divergence at x + xi d, at length 1. As in the authors' code all forwards are in training mode, and
    those beside x leave the statistics of batch-norm alone.

    Args:
        threat: the paper's ball is Euclidean and unlimited. Its radius is the option to tune, here that of MNIST; the
            published code takes 8 for CIFAR-10 and 2.5 for SVHN. In other threats the step is their steepest one
            along d.
        weight: of the divergence, alpha in the paper.
        iterations: of the power method, K.
        xi: how far from x its slopes are taken. The paper has 1e-6; in 32 bits slopes so near are rounding, so the
            default here is 1e-3.
    """

    paper: ClassVar[str] = "Miyato, Maeda, Koyama, Ishii, 2018, arXiv 1704.03976"

    threat: Threat = field(default_factory=lambda: L2(2.0, box=None))
    weight: float = 1.0
    iterations: int = 1
    xi: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self.weight, "weight")
        checks.count(self.iterations, "iterations")
        checks.positive(self.xi, "xi")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """Both terms: one forward at x, one for each iteration, one at x + r."""
        outputs = model(x)
        answer = outputs.detach()
        beside = partial(functional_call, model, {name: value.clone() for name, value in model.named_buffers()})
        d = self.direction(lambda z: Divergence().drift(beside(z), answer).sum(), x, moment.generator)
        moved = whole_step(self.now(x, moment), x, d)
        return F.cross_entropy(outputs, y) + self.weight * Divergence().drift(beside(moved), answer).mean()

    def direction(self, divergence: Callable[[Tensor], Tensor], x: Tensor, generator: RowGenerator) -> Tensor:
        """The direction of length 1 in which a divergence, summed over rows, grows most around x, [n, ...]."""
        d = UNIT.steepest(x, x, generator.normal(x.shape[1:], x.dtype))
        for _ in range(self.iterations):
            near = (x + self.xi * d).requires_grad_()
            (slope,) = torch.autograd.grad(divergence(near), near)
            d = UNIT.steepest(x, d, slope)
        return d
