"""TRADES: cross-entropy on the clean inputs, and beta times how far the answer can be moved away from that."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.ascend import ascend, check_options
from struthio.attacks.base import Attack, no_trace
from struthio.goals import Drift
from struthio.losses import CrossEntropy, Divergence
from struthio.meter import Metered
from struthio.put_back import in_mode
from struthio.rows import RowGenerator
from struthio.train.adversarial import Adversarial
from struthio.train.recipe import Moment
from struthio.types import Goal, Loss, Model, Threat


@dataclass(frozen=True)
class NoisyStart(Attack):
    """Projected gradient ascent from x and a little Gaussian noise, to the last iterate.

    The divergence from the clean answer has no slope at x itself, which is what the noise is for.

    Args:
        steps: how many.
        step: the length of a step as a share of the radius.
        noise: the standard deviation of the start.
        loss: what is increased.
    """

    paper: ClassVar[str] = "Zhang, Yu, Jiao, Xing, El Ghaoui, Jordan, 2019, arXiv 1901.08573"
    improves: ClassVar[bool] = False

    steps: int = 10
    step: float = 0.25
    noise: float = 0.001
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        check_options(self.steps, self.step, "last")
        checks.not_negative(self.noise, "noise")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The last iterate."""
        start = self.noise * generator.normal(threat.zero(x).shape[1:], x.dtype)
        return ascend(
            model, x, goal, threat, generator,
            steps=self.steps, step=self.step, loss=self.loss, start=start, keep="last",
        )  # fmt: skip


@dataclass(frozen=True)
class TRADES(Adversarial):
    """J(x, y) + beta KL(p(x) || p(x')), x' being where that divergence is largest. No label enters the search.

    Slopes pass through both answers, as in the authors' code, which asks for the clean answer anew at each step of the
    search; here it is asked for once. CIFAR-10 there: Linf(0.031), 10 steps of 0.007, beta 6; MNIST: Linf(0.3), 40
    steps of 0.01, beta 1.

    Args:
        beta: the weight of the divergence, 1 / lambda in the paper; 0 leaves it out.
        attack: how x' is found.

    Raises:
        UserError: for a beta below 0.
    """

    paper: ClassVar[str] = NoisyStart.paper

    beta: float = 6.0
    attack: Attack = field(default_factory=lambda: NoisyStart(loss=Divergence()))

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self.beta, "beta")

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """Where the answer differs most from that on x."""
        with in_mode(model, self.training), no_trace(moment.generator), torch.no_grad():
            clean = model(x)
        return self.find(model, x, Drift(clean), self.attack, moment)

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """Both terms, from one clean forward and one adversarial."""
        clean = model(x)
        return F.cross_entropy(clean, y) + self.beta * Divergence().drift(model(x_adv), clean).mean()
