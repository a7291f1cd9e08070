"""Defensive distillation: a network learns the softened answers of a first one, both divided by a temperature.

Papernot, McDaniel, Wu, Jha, Swami, 2016, arXiv 1511.04508. Two runs make it: `Tempered` trains the teacher, and
`Distillation` the student from its answers. What comes out is used as it is, at a temperature of 1: its logits are then
about T times those of a plain network, its softmax is saturated, and its gradients vanish. That hides them from attacks
which follow the softmax, and from no other (Carlini and Wagner, 2016, arXiv 1607.04311).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.train.recipe import Moment, Recipe
from struthio.types import Model


@dataclass(frozen=True)
class Tempered(Recipe):
    """Cross-entropy of logits divided by a temperature: how the teacher of `Distillation` is trained.

    Args:
        temperature: T; 100 in much published code, 20 for the paper's MNIST. 1 is plain training.

    Raises:
        UserError: for a temperature that is not above 0.
    """

    paper: ClassVar[str] = "Papernot, McDaniel, Wu, Jha, Swami, 2016, arXiv 1511.04508"

    temperature: float = 100.0

    def __post_init__(self) -> None:
        checks.positive(self.temperature, "temperature")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy of z / T."""
        return F.cross_entropy(model(x) / self.temperature, y)


@dataclass(frozen=True)
class Distillation(Recipe):
    """Cross-entropy of the student's softmax(z / T) with the teacher's at the same T; labels are not used.

    The defence gives the student the teacher's architecture; a smaller one is the compression that the idea comes from
    (Hinton, Vinyals, Dean, 2015, arXiv 1503.02531). Gradients are 1 / T of the usual ones, or less, so the learning
    rate of an optimiser that does not rescale them has to be larger.

    Args:
        teacher: from a batch to logits, in evaluation mode, trained by `Tempered` at the same temperature.
        temperature: T.

    Raises:
        UserError: for a temperature that is not above 0, and for a teacher in training mode or of other classes.
    """

    paper: ClassVar[str] = Tempered.paper

    teacher: Model
    temperature: float = 100.0

    def __post_init__(self) -> None:
        checks.positive(self.temperature, "temperature")
        checks.mode(self.teacher)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy of z / T with the teacher's answers."""
        with torch.no_grad():
            soft = (self.teacher(x) / self.temperature).softmax(1)
        logits = model(x)
        if logits.shape != soft.shape:
            raise UserError(
                f"the teacher answers in shape {tuple(soft.shape)}, the student in {tuple(logits.shape)}; "
                "both need the same classes."
            )
        return F.cross_entropy(logits / self.temperature, soft)
