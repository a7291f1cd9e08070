"""Fast minimum norm: a radius that first jumps to where the boundary should be, then shrinks and grows about it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.shrink import Seen, cosine, norm_of, shrink, unit, useful, widest
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm
from struthio.types import Goal, Gradient, Loss, State, Threat

DUAL = {1: math.inf, 2: 2, math.inf: 1}  # the norm of the slope that turns a score into a distance

BEYOND = 1 + 1e-5  # where the score is a plane the step ends on the boundary itself, and rounding must not decide


@dataclass(frozen=True)
class FMN(Attack):
    """The smallest change in L0, L1, L2 or Linf: steps of unit slope inside a ball that closes in on the boundary.

    In Linf the steps, of the same length, follow the sign of the slope; the paper's follow the slope itself. On digits
    the median change falls by two fifths on a hardened network, and is the same on a plain one.

    Args:
        steps: K, how many.
        step: alpha_0, the length of the first step.
        last_step: alpha_K, that of the last; between them it falls along a cosine.
        gamma: by what share the radius changes at first.
        last_gamma: by what share in the end.
        loss: what is increased; 0 where a row is on the boundary.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Pintor, Roli, Brendel, Biggio, 2021, arXiv 2102.12827"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    steps: int = 1000
    step: float = 1.0
    last_step: float = 1e-5
    gamma: float = 0.05
    last_gamma: float = 0.001
    loss: Loss = field(default_factory=Margin)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.step, "step")
        checks.positive(self.last_step, "last_step")
        checks.share(self.gamma, "gamma")
        checks.share(self.last_gamma, "last_gamma")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all steps."""
        return shrink(
            model, x, goal, threat, generator, steps=self.steps, rule=self, loss=self.loss, gradient=self.gradient
        )

    def start(self, task: Task, z: Tensor) -> State:
        """No radius yet, one entry in L0; and the widest."""
        most = widest(task)
        return {"radius": most.clamp(max=1) if norm_of(task) == 0 else torch.zeros_like(most), "widest": most}

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """A step along the slope, then into the ball of the new radius."""
        length = cosine(self.step, self.last_step, step, self.steps)
        gamma = cosine(self.gamma, self.last_gamma, step, self.steps)
        slope = useful(task, z, seen.slope)
        if norm_of(task) == 0:
            radius = self._count(seen, state["radius"], gamma)
        else:
            radius = self._radius(seen, state["radius"], gamma, norm(slope, DUAL[norm_of(task)]))
        radius = torch.minimum(radius, state["widest"])
        ahead = z + length * unit(task, z, slope.sign() if norm_of(task) == math.inf else slope, step)
        return task.threat.at(radius).project(task.x, ahead), {**state, "radius": radius}

    def _radius(self, seen: Seen, radius: Tensor, gamma: float, steepness: Tensor) -> Tensor:
        """Until a row is won, where the boundary would be on a plane as steep; then a little less or more."""
        boundary = (seen.size + seen.score.abs() / steepness.clamp(min=1e-12)) * BEYOND
        grown = torch.where(seen.best.isfinite(), radius * (1 + gamma), boundary)
        return torch.where(seen.won, torch.minimum(radius * (1 - gamma), seen.best), grown)

    def _count(self, seen: Seen, radius: Tensor, gamma: float) -> Tensor:
        """In L0 a count cannot follow a slope: it changes by gamma, and by one at least."""
        less = torch.minimum(torch.minimum(radius - 1, (radius * (1 - gamma)).floor()), seen.best)
        more = torch.maximum(radius + 1, (radius * (1 + gamma)).floor())
        return torch.where(seen.won, less, more).clamp(min=0)
