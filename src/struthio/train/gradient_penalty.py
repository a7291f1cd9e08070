"""Double backpropagation: the loss is also to have a small slope at each input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class GradientPenalty(Recipe):
    """J(x, y) + weight * the mean over rows of |grad_x J|^2, the Euclidean length squared.

    Drucker and LeCun, 1992, who call it double backpropagation; as a defence: Ross and Doshi-Velez. To first order it
    bounds what a step of the input adds to the loss; a row's slope is that of its own loss.

    Args:
        weight: of the penalty. As in all such terms it depends on the input's range and size.

    Raises:
        UserError: for a weight below 0.
    """

    paper: ClassVar[str] = "Ross, Doshi-Velez, 2018, arXiv 1711.09404"

    weight: float = 1.0

    def __post_init__(self) -> None:
        checks.not_negative(self.weight, "weight")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The cross-entropy and the penalty."""
        x = x.detach().requires_grad_()
        losses = F.cross_entropy(model(x), y, reduction="none")
        (slope,) = torch.autograd.grad(losses.sum(), x, create_graph=True)
        return losses.mean() + self.weight * slope.flatten(1).square().sum(1).mean()
