"""PGD adversarial training: the loss on adversarial inputs alone, found by projected gradient ascent."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks import PGD
from struthio.attacks.base import Attack
from struthio.goals import Untargeted
from struthio.train.adversarial import Adversarial
from struthio.train.recipe import Moment
from struthio.types import Model


@dataclass(frozen=True)
class PGDAT(Adversarial):
    """min over weights of the mean of max over the threat of J: the saddle point of robust optimisation.

    There is no clean half. CIFAR-10 in the paper: Linf(8/255), 7 steps of 2/255; MNIST: Linf(0.3), 40 steps of 0.01,
    which needs a `ramp` where data are few. Robust accuracy on held-out rows can fall again late in training (Rice,
    Wong, Kolter, 2020, arXiv 2002.11569), so the best weights are worth keeping.

    Args:
        attack: how the inputs are found; `keep="last"` costs nothing beside its steps.
    """

    paper: ClassVar[str] = "Madry, Makelov, Schmidt, Tsipras, Vladu, 2018, arXiv 1706.06083"

    attack: Attack = field(default_factory=lambda: PGD(steps=7, step=0.25, keep="last"))

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """Where the attack ends, away from the labels."""
        return self.find(model, x, Untargeted(y), self.attack, moment)

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy there."""
        return F.cross_entropy(model(x_adv), y)
