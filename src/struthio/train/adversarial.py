"""What adversarial recipes share: first the adversarial inputs of a batch, then a loss on them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.rows import per_row
from struthio.threats import Linf
from struthio.train.adversary import adversary
from struthio.train.recipe import Moment, Recipe
from struthio.types import Goal, Model, Threat


@dataclass(frozen=True)
class WithThreat(Recipe):
    """A recipe with a threat, whose radius may grow.

    Args:
        threat: what may change, and by how much; one radius for all rows.
        ramp: the share of training over which the radius grows from 0 to that of the threat. Training at Linf(0.3) on
            digits can stall at the accuracy of a guess without it.

    Raises:
        UserError: for an infinite radius, one radius a row, or a ramp outside [0, 1]; at the first step, for inputs
            outside the limits of the threat.
    """

    plain_at_zero: ClassVar[bool] = True  # with a radius of 0 the loss is the cross-entropy on x

    threat: Threat = field(default_factory=lambda: Linf(8 / 255))
    ramp: float = 0.0

    def __post_init__(self) -> None:
        check_finite(self.threat)
        if torch.as_tensor(self.threat.eps).ndim:
            raise UserError("the threat has one radius a row; a recipe meets every row, so one number is needed.")
        if not 0 <= self.ramp <= 1:
            raise UserError(f"ramp is {self.ramp:g}; it must be a share of training in [0, 1].")

    def now(self, x: Tensor, moment: Moment) -> Threat:
        """The threat at this moment's radius. At the first step, inputs that it does not allow are refused."""
        if moment.step == 0:
            self.threat.check(x)
        if moment.done >= self.ramp:
            return self.threat
        return self.threat.at(self.threat.eps * (moment.done / self.ramp))


@dataclass(frozen=True)
class Adversarial(WithThreat):
    """A recipe in two halves, so that another (AWP) can come between them: `perturb`, then `on`.

    Args:
        training: search in training mode (statistics of the batch, dropout) in place of evaluation mode.
    """

    training: bool = False

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The adversarial inputs, without gradient."""
        raise NotImplementedError

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The mean loss, a scalar, once the adversarial inputs are known."""
        raise NotImplementedError

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The loss on the adversarial inputs of this moment."""
        return self.on(model, x, self.perturb(model, x, y, moment), y)

    def find(self, model: nn.Module, x: Tensor, goal: Goal, attack: Attack, moment: Moment) -> Tensor:
        """What the attack makes of x at this moment."""
        return adversary(model, x, goal, self.now(x, moment), attack, moment.generator, self.training)


@dataclass(frozen=True)
class Halves(Adversarial):
    """alpha J(x, y) + (1 - alpha) J(x_adv, y); each half is a forward of its own, so that batch-norm never mixes them.

    Args:
        alpha: the weight of the clean half, in [0, 1); 0 leaves it out.

    Raises:
        UserError: for an alpha outside [0, 1).
    """

    alpha: float = 0.5

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.alpha < 1:
            raise UserError(f"alpha is {self.alpha:g}; the clean half has a weight in [0, 1).")

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The weighted mean of both halves."""
        adversarial = F.cross_entropy(model(x_adv), y)
        if self.alpha == 0:
            return adversarial
        return self.alpha * F.cross_entropy(model(x), y) + (1 - self.alpha) * adversarial


@torch.no_grad()
def whole_step(threat: Threat, x: Tensor, slope: Tensor) -> Tensor:
    """The input a whole radius away from x along the slope."""
    still = threat.zero(x)
    step = per_row(threat.reach, still) * threat.steepest(x, still, slope)
    return threat.apply(x, threat.project(x, step))
