"""FGSM adversarial training: half the loss on the clean inputs, half on those one gradient sign away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks import FGSM
from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.goals import Untargeted
from struthio.train.adversarial import Adversarial
from struthio.train.recipe import Moment
from struthio.types import Model


@dataclass(frozen=True)
class FGSMAT(Adversarial):
    """alpha J(x, y) + (1 - alpha) J(x + eps sign(grad J), y), with no slope through the sign.

    The paper trains at Linf(0.25, box=None) on MNIST. Each half is a forward of its own, so that batch-norm never mixes
    them; with a radius of 0, alpha = 1/2 and no dropout this is plain training, bit for bit. Networks trained this way
    stand firm against FGSM and not against PGD.

    Args:
        alpha: the weight of the clean half, in [0, 1); 0 leaves it out.
        attack: how the other half is found.

    Raises:
        UserError: for an alpha outside [0, 1).
    """

    paper: ClassVar[str] = "Goodfellow, Shlens, Szegedy, 2015, arXiv 1412.6572"

    alpha: float = 0.5
    attack: Attack = field(default_factory=FGSM)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha < 1:
            raise UserError(f"alpha is {self.alpha:g}; the clean half has a weight in [0, 1).")

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """One step away from the labels."""
        return self.find(model, x, Untargeted(y), self.attack, moment)

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The weighted mean of both halves."""
        adversarial = F.cross_entropy(model(x_adv), y)
        if self.alpha == 0:
            return adversarial
        return self.alpha * F.cross_entropy(model(x), y) + (1 - self.alpha) * adversarial
