"""MART: TRADES that knows which rows are misclassified, and weighs the divergence by them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import Attack
from struthio.goals import Untargeted
from struthio.losses import Divergence
from struthio.train.adversarial import Adversarial
from struthio.train.recipe import Moment
from struthio.train.trades import NoisyStart
from struthio.types import Model


@dataclass(frozen=True)
class MART(Adversarial):
    """BCE(p(x'), y) + beta KL(p(x) || p(x')) (1 - p_y(x)), with BCE = -log p_y - log(1 - max over others of p_k).

    x' is found on the cross-entropy with the label, from the little noise of TRADES. Slopes pass through all of the
    formula, the weight 1 - p_y(x) too, as in the authors' code; its 1.0001 in the second logarithm is kept.

    Args:
        beta: the weight of the divergence (lambda in the paper); 5 in the authors' training script.
        attack: how x' is found.

    Raises:
        UserError: for a beta below 0.
    """

    paper: ClassVar[str] = "Wang, Zou, Yi, Bailey, Ma, Gu, 2020, ICLR (openreview rklOg6EFwS)"
    plain_at_zero: ClassVar[bool] = False  # the cross-entropy is a boosted one

    beta: float = 5.0
    attack: Attack = field(default_factory=NoisyStart)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self.beta, "beta")

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """Where the attack ends, away from the labels."""
        return self.find(model, x, Untargeted(y), self.attack, moment)

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The boosted cross-entropy and the weighted divergence."""
        clean, moved = model(x), model(x_adv)
        label = y[:, None]
        rival = moved.softmax(1).scatter(1, label, 0.0).amax(1)
        boosted = F.cross_entropy(moved, y) - torch.log(1.0001 - rival).mean()
        doubt = 1 - clean.softmax(1).gather(1, label).squeeze(1)
        return boosted + self.beta * (doubt * Divergence().drift(moved, clean)).mean()
