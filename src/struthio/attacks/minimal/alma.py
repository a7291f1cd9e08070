"""Augmented Lagrangian: the size is minimised, and a penalty that learns its own weights keeps the row won."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.shrink import Seen, inside, norm_of, shrink, unit, widest
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import DLR
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.types import Goal, Gradient, Loss, State, Threat

FIRST = {1.0: 0.5, 2.0: 0.1}  # epsilon by norm
MARGIN = 1e-4  # how far beyond the boundary a row has to be
IMPROVED = 0.95  # tau: the share of the violation below which it counts as improved
RISE = 1.2  # gamma, by which the penalty's rho grows where it is not


@dataclass(frozen=True)
class ALMA(Attack):
    """The smallest L2 or L1 change by an augmented Lagrangian: RMSProp on the size and a penalty on rows not yet won.

    The penalty is made for losses of size about 1, as DLR; a larger one is measured by what it is on the clean input.

    Args:
        steps: N, how many.
        first: epsilon, the size after the first step, which sets the length of all; None takes 0.1 in L2, 0.5 in L1.
        multiplier: mu, the first of the penalty.
        sharpness: rho, the first of the penalty.
        every: M, after how many steps the sharpness grows where a row was never won and has hardly come nearer.
        smooth: alpha, what is kept in the running means of squares, momentum and multiplier.
        loss: what is increased; 0 where a row is on the boundary. With two classes take Margin().
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Rony, Granger, Pedersoli, Ben Ayed, 2021, arXiv 2011.11857"
    norms: ClassVar[tuple[str, ...]] = ("l2", "l1")

    steps: int = 1000
    first: float | None = None
    multiplier: float = 1.0
    sharpness: float = 1.0
    every: int = 10
    smooth: float = 0.9
    loss: Loss = field(default_factory=DLR)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.every, "every")
        checks.positive(1.0 if self.first is None else self.first, "first")
        checks.positive(self.multiplier, "multiplier")
        checks.positive(self.sharpness, "sharpness")
        checks.share(self.smooth, "smooth")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all steps."""
        return shrink(
            model, x, goal, threat, generator, steps=self.steps, rule=self, loss=self.loss, gradient=self.gradient
        )

    def start(self, task: Task, z: Tensor) -> State:
        """Multipliers, running means, and since when a row is won."""
        one = torch.ones_like(z.flatten(1)[:, 0])
        return {
            "mu": one * self.multiplier, "rho": one * self.sharpness, "before": one, "since": one * self.steps,
            "unit": one, "length": one, "square": torch.ones_like(z), "momentum": torch.zeros_like(z),
        }  # fmt: skip

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """New multipliers; then a step of RMSProp with momentum down the size and the penalty."""
        if step == 0:
            state = {**state, "unit": seen.score.abs().clamp(min=1)}
        violation = MARGIN - seen.score / state["unit"]
        state = self._learn(violation, seen, state, step)
        slope = per_row(_force(violation, state["rho"], state["mu"]) / state["unit"], z) * seen.slope
        if step == 0:
            slope = where_rows(norm(slope, 2) < 1e-6, unit(task, z, slope, step), slope)
            state = {**state, "length": self._first_length(task, slope)}
        grad = _steepness(z, norm_of(task)) - slope
        square = torch.lerp(state["square"], grad.square(), 1 - self.smooth)
        momentum = self.smooth * state["momentum"] + grad / (square.sqrt() + 1e-8)
        decay = 0.01 ** ((step - state["since"]).clamp(min=0) / (self.steps - state["since"]).clamp(min=1))
        z = inside(task, z - per_row(state["length"] * decay, z) * momentum)
        return z, {**state, "square": square, "momentum": momentum}

    def _learn(self, violation: Tensor, seen: Seen, state: State, step: int) -> State:
        """Mu follows the force of the penalty; rho grows where nothing else helps."""
        mu, rho, before = state["mu"], state["rho"], state["before"]
        if step:
            mu = torch.lerp(mu, _force(violation, rho, mu), 1 - self.smooth).clamp(1e-6, 1e12)
        if step and (step + 1) % self.every == 0:
            stuck = seen.best.isinf() & (violation >= IMPROVED * before)
            rho, before = torch.where(stuck, RISE * rho, rho), violation
        elif not step:
            before = violation
        since = torch.where(seen.won, state["since"].clamp(max=step), state["since"])
        return {**state, "mu": mu, "rho": rho, "before": before, "since": since}

    def _first_length(self, task: Task, slope: Tensor) -> Tensor:
        """How often the slope has to be gone for a change of size epsilon, by halving the interval of its logarithm."""
        aim = widest(task).clamp(max=FIRST[norm_of(task)] if self.first is None else self.first)
        low, high = torch.full_like(slope.flatten(1)[:, 0], -40.0), torch.full_like(slope.flatten(1)[:, 0], 40.0)
        for _ in range(30):
            middle = (low + high) / 2
            there = inside(task, per_row(2**middle, slope) * slope)
            far = norm(there, norm_of(task)) > aim
            low, high = torch.where(far, low, middle), torch.where(far, middle, high)
        return 2 ** ((low + high) / 2) * (aim > 0)


def _force(y: Tensor, rho: Tensor, mu: Tensor) -> Tensor:
    """The slope of the penalty P2 of the violation y: mu at the boundary, rising steeply beyond it."""
    return torch.where(y >= 0, mu + 2 * mu * rho * y + 0.5 * rho**2 * y**2, mu / (1 - rho * y.clamp(max=0)) ** 2)


def _steepness(z: Tensor, p: float) -> Tensor:
    """The slope of the size."""
    return z.sign() if p == 1 else z / per_row(norm(z, 2).clamp(min=1e-12), z)
