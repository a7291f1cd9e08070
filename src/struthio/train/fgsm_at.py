"""FGSM adversarial training: half the loss on the clean inputs, half on those one gradient sign away."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor, nn

from struthio.attacks import FGSM
from struthio.attacks.base import Attack
from struthio.goals import Untargeted
from struthio.train.adversarial import Halves
from struthio.train.recipe import Moment


@dataclass(frozen=True)
class FGSMAT(Halves):
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

    attack: Attack = field(default_factory=FGSM)

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """One step away from the labels."""
        return self.find(model, x, Untargeted(y), self.attack, moment)
