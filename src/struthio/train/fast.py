"""Fast adversarial training: the loss on adversarial inputs found by one long step from a random start."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks import PGD
from struthio.goals import Untargeted
from struthio.train.adversarial import Adversarial
from struthio.train.recipe import Moment
from struthio.types import Model


@dataclass(frozen=True)
class FastAT(Adversarial):
    """J(x_adv, y) alone, where x_adv is one gradient sign of alpha eps away from a random point of the ball.

    What leaves the ball is projected back. As in the published code the search is in training mode. Trained too long or
    at too large a radius, networks overfit to the one step within an epoch ("catastrophic overfitting"): accuracy under
    FGSM stays and that under PGD falls to nothing. `fit` looks at both after each epoch and says so
    (`history.catastrophic_overfitting`).

    Args:
        alpha: the length of the step as a share of the radius: 10/255 for 8/255 in the paper, which found that 1 and
            2 do less well.
    """

    paper: ClassVar[str] = "Wong, Rice, Kolter, 2020, arXiv 2001.03994"

    training: bool = True
    alpha: float = 1.25

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.positive(self.alpha, "alpha")

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The point after the step."""
        attack = PGD(steps=1, step=self.alpha, keep="last")
        return self.find(model, x, Untargeted(y), attack, moment)

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The mean cross-entropy there."""
        return F.cross_entropy(model(x_adv), y)
