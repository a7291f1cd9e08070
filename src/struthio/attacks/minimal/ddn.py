"""Decoupled direction and norm: the slope says where to go, and a radius that shrinks after each win how far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.shrink import Seen, cosine, inside, shrink, unit, widest
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Gradient, Loss, State, Threat


@dataclass(frozen=True)
class DDN(Attack):
    """The smallest L2 change: steps of unit slope, put back on a sphere that shrinks after a win and grows after none.

    Args:
        steps: K, how many.
        step: alpha, the length of the first step; it falls to 0.01 along a cosine.
        radius: epsilon_0, the first radius.
        gamma: by what share the radius changes.
        loss: what is increased.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Rony, Hafemann, Oliveira, Ben Ayed, Sabourin, Granger, 2019, arXiv 1811.09600"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 1000
    step: float = 1.0
    radius: float = 1.0
    gamma: float = 0.05
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.step, "step")
        checks.positive(self.radius, "radius")
        checks.share(self.gamma, "gamma")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all steps."""
        return shrink(
            model, x, goal, threat, generator, steps=self.steps, rule=self, loss=self.loss, gradient=self.gradient
        )

    def start(self, task: Task, z: Tensor) -> State:
        """The first radius, and the widest."""
        most = widest(task)
        return {"radius": most.clamp(max=self.radius), "widest": most}

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """A step along the slope, then onto the sphere of the new radius, then between the limits."""
        length = cosine(self.step, 0.01, step, self.steps)
        slope = task.threat.steepest(task.x, z, seen.slope)
        ahead = z + length * unit(task, z, slope, step)
        radius = state["radius"] * torch.where(seen.won, 1 - self.gamma, 1 + self.gamma)
        radius = torch.minimum(radius, state["widest"])
        ahead = ahead * per_row(radius / norm(ahead, 2).clamp(min=1e-12), z)
        return inside(task, ahead), {**state, "radius": radius}
