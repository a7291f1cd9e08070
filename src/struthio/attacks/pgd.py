"""Gradient sign and projected gradient: FGSM, R+FGSM, BIM, PGD, ODI-PGD, each `ascend` with its own defaults."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import ascend, check_finite, check_options
from struthio.attacks.base import Attack
from struthio.attacks.combine import Repeat
from struthio.attacks.starts import OutputDiversified
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy, Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.types import Goal, Gradient, Loss, Threat


@dataclass(frozen=True)
class FGSM(Attack):
    """One step of the whole radius along the sign of the gradient.

    Goodfellow, Shlens, Szegedy, 2015, arXiv 1412.6572, which does not clip: use Linf(eps, box=None) for that. In L2
    the step is along the gradient itself. With `Targeted` it is the one-step target class method, with
    `least_likely(model, x)` the one-step least-likely method (Kurakin, Goodfellow, Bengio, 2017, arXiv 1611.01236).

    Args:
        loss: what is increased.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Goodfellow, Shlens, Szegedy, 2015, arXiv 1412.6572"
    improves: ClassVar[bool] = False

    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The point one step away."""
        return ascend(
            model, x, goal, threat, generator, steps=1, step=1, loss=self.loss, gradient=self.gradient, keep="last"
        )


@dataclass(frozen=True)
class RFGSM(Attack):
    """A random step, then a gradient step of what is left of the radius: R+FGSM.

    Args:
        alpha: the share of the radius taken by the random step.
        loss: what is increased.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Tramer, Kurakin, Papernot, Goodfellow, Boneh, McDaniel, 2018, arXiv 1705.07204"
    improves: ClassVar[bool] = False

    alpha: float = 0.5
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise checks.UserError(f"alpha is {self.alpha:g}; the random step takes a share of the radius in [0, 1).")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The point after both steps."""
        check_finite(threat)
        still = threat.zero(x)
        noise = generator.normal(still.shape[1:], x.dtype)
        start = self.alpha * per_row(threat.reach, still) * threat.steepest(x, still, noise)
        return ascend(
            model, x, goal, threat, generator, steps=1, step=1 - self.alpha, loss=self.loss, start=start,
            gradient=self.gradient, keep="last",
        )  # fmt: skip


@dataclass(frozen=True)
class BIM(Attack):
    """The basic iterative method (I-FGSM): small signed steps from x itself, clipped to the ball around x.

    With `least_likely(model, x)` as the goal it is the iterative least-likely class method of the same paper.

    Args:
        steps: how many; None takes the paper's min(e + 4, 1.25 e) for a radius of e levels of 255.
        level: the length of a step, 1/255 as in the paper; the unit of the input.
        loss: what is increased.
        gradient: how the slope is found.
        keep: "last" as in the paper; "first" or "best" keep what won (see `ascend`).
    """

    paper: ClassVar[str] = "Kurakin, Goodfellow, Bengio, 2016, arXiv 1607.02533"
    norms: ClassVar[tuple[str, ...]] = ("linf",)
    improves: ClassVar[bool] = False

    steps: int | None = None
    level: float = 1 / 255
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)
    keep: str = "last"

    def __post_init__(self) -> None:
        check_options(1 if self.steps is None else self.steps, self.level, self.keep)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The last iterate, or the best."""
        check_finite(threat)
        steps = self.steps or _kurakin_steps(threat)
        # A step has one length whatever the radius, so the share of the reach that `ascend` takes is found per row.
        share = self.level / torch.as_tensor(threat.eps, dtype=x.dtype, device=x.device).clamp(min=1e-12)
        return ascend(
            model,
            x,
            goal,
            threat,
            generator,
            steps=steps,
            step=share,
            loss=self.loss,
            gradient=self.gradient,
            keep=self.keep,
        )


def _kurakin_steps(threat: Threat) -> int:
    levels = torch.as_tensor(threat.eps) * 255
    if float(levels.max()) > float(levels.min()):
        raise checks.UserError(
            "BIM() takes its number of steps from the radius, but radii differ. Name it: BIM(steps=10)."
        )
    most = float(levels.max())
    return max(1, math.ceil(min(most + 4, 1.25 * most) - 1e-4))


def _usual_step(threat: Threat, steps: int) -> float:
    p = getattr(threat, "p", None)
    return 0.5 if p == 0 else (8.0 if p in (1, 2) else 2.5) / steps


@dataclass(frozen=True)
class PGD(Attack):
    """Projected gradient ascent from a random point of the ball, with restarts.

    In L2 the step is along the gradient; in L1 along its few largest entries (Tramer and Boneh, 2019, arXiv
    1904.13000); in L0 the entries that gain most are kept (Croce and Hein, 2019, arXiv 1909.05040). Projections onto
    ball and limits are exact.

    Args:
        steps: how many.
        step: the length of a step as a share of the radius; None takes 2.5 / steps in Linf, 8 / steps in L2 and L1,
            where shorter ones do not wash out the random start, and 0.5 in L0, whose places change by long steps only.
        restarts: how many random starts; later ones see only the rows that still hold.
        random_start: begin at a random point of the ball; else at x.
        loss: what is increased.
        gradient: how the slope is found.
        keep: "first" lets a row leave as soon as it is won; "best" goes on to the highest loss; "last" is the last one.
    """

    paper: ClassVar[str] = "Madry, Makelov, Schmidt, Tsipras, Vladu, 2018, arXiv 1706.06083"

    steps: int = 40
    step: float | None = None
    restarts: int = 1
    random_start: bool = True
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)
    keep: str = "first"

    def __post_init__(self) -> None:
        check_options(self.steps, self.step, self.keep)
        checks.count(self.restarts, "restarts")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The iterate to keep, over all restarts."""
        if self.restarts > 1:
            once = replace(self, restarts=1)
            return Repeat(once, self.restarts).search(model, x, goal, threat, generator)
        check_finite(threat)
        start = threat.sample(x, generator) if self.random_start else None
        return ascend(
            model, x, goal, threat, generator, steps=self.steps, step=self.step or _usual_step(threat, self.steps),
            loss=self.loss, start=start, gradient=self.gradient, keep=self.keep,
        )  # fmt: skip


@dataclass(frozen=True)
class ODIPGD(Attack):
    """ODI-PGD: projected gradient on the margin, restarted from points that lie far apart in the outputs.

    Output-diversified initialisation (`OutputDiversified`) takes a few whole steps that raise a random mixture of the
    outputs. Options as in the authors' code: 20 restarts, each of 2 such steps and 20 of a quarter of the radius.

    Args:
        steps: of each restart, after its start.
        step: their length as a share of the radius.
        restarts: how many starts; later ones see only the rows that still hold.
        start_steps: how many steps raise the mixture.
        start_step: their length as a share of the radius.
        loss: what is increased.
        gradient: how the slope is found.
        keep: "first" lets a row leave as soon as it is won; "best" goes on to the highest loss; "last" is the last one.
    """

    paper: ClassVar[str] = "Tashiro, Song, Ermon, 2020, arXiv 2003.06878"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    steps: int = 20
    step: float = 0.25
    restarts: int = 20
    start_steps: int = 2
    start_step: float = 1.0
    loss: Loss = field(default_factory=Margin)
    gradient: Gradient = field(default_factory=Autograd)
    keep: str = "first"

    def __post_init__(self) -> None:
        check_options(self.steps, self.step, self.keep)
        checks.count(self.restarts, "restarts")
        OutputDiversified(self.start_steps, self.start_step)  # checked where it is made

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The iterate to keep, over all restarts."""
        check_finite(threat)
        if self.restarts > 1:
            once = replace(self, restarts=1)
            return Repeat(once, self.restarts).search(model, x, goal, threat, generator)
        task = Task.whole(model, x, goal, threat, generator)
        start = OutputDiversified(self.start_steps, self.start_step)(task, self.gradient)
        return ascend(
            model, x, goal, threat, generator, steps=self.steps, step=self.step, loss=self.loss, start=start,
            gradient=self.gradient, keep=self.keep,
        )  # fmt: skip
