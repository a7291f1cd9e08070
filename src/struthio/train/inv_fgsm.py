"""InvFGSM augmentation: inputs moved one gradient sign towards their labels are trained on as well."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks import FGSM
from struthio.goals import Targeted, Untargeted
from struthio.train.adversarial import WithThreat
from struthio.train.adversary import adversary
from struthio.train.recipe import Moment
from struthio.types import Goal

WITH = ("clean", "fgsm")


@dataclass(frozen=True)
class InvFGSM(WithThreat):
    """The mean of J over clean inputs, x - eps sign(grad J), and, where wanted, x + eps sign(grad J).

    A step down the loss is the fast gradient sign method turned round. It writes the label into the input: the
    training loss falls without learning, so only clean or attacked inputs tell how good the result is. By itself it
    makes no network robust; robustness comes with the steps up. The paper trains a U-Net; its radius, data and mix of
    the parts could not be read, and are options here, for classification: 0.01 to 0.1 are radii to try.

    Args:
        beside: what stands beside the inverse inputs: "clean" inputs, or "fgsm", clean and adversarial ones.
        training: find both steps in training mode (statistics of the batch, dropout) in place of evaluation mode.

    Raises:
        UserError: for another word.
    """

    paper: ClassVar[str] = "Pervin, Tao, Huq, He, Huo, 2021, arXiv 2105.12106"

    beside: str = "clean"
    training: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(self.beside, WITH, "beside")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean over the parts, each with a forward of its own."""
        threat = self.now(x, moment)
        goals: list[Goal] = [Targeted(y), *([Untargeted(y)] if self.beside == "fgsm" else [])]
        moved = [adversary(model, x, goal, threat, FGSM(), moment.generator, self.training) for goal in goals]
        return torch.stack([F.cross_entropy(model(part), y) for part in (x, *moved)]).mean()
