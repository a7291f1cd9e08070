"""The attack of Brendel and Bethge: along the boundary, a short way at a time, to its point that is nearest to x."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.boundary_step import boundary_step
from struthio.attacks.minimal.deepfool import cross
from struthio.attacks.minimal.walls import offer, room
from struthio.attacks.places import innermost
from struthio.attacks.shrink import norm_of
from struthio.attacks.task import Task, remaining
from struthio.attacks.walk import Walk
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Gradient, Threat

ENDLESS = 2**40  # questions: the steps say how many a row may ask
TRIES = 20  # of noise, of each grain a few


@dataclass(frozen=True)
class BrendelBethge(Attack):
    """The smallest change in L2, Linf, L1 or L0, from a win far away inwards: no slope has to lead there from x.

    The start is brought to the boundary. Then the slope of the margin, averaged over steps, is taken for the normal of
    the boundary, and of all points on that plane, between the limits and in a ball around where the row is, the one
    nearest to x is next (`boundary_step`). The ball shrinks as the steps go by.

    Args:
        steps: how many.
        radius: of the ball at first, as a share of the diagonal between the limits.
        decay: the factor by which the radius shrinks,
        decays: and how often it does.
        momentum: the weight of the slopes before in their average with the new one.
        overshoot: how many times the way to the boundary is gone by what has lost; what has won goes 2 - overshoot.
        halvings: how often the way from x to the start is halved to find the boundary.
        start: inputs that win, [n, ...] or to be expanded to it; None starts from noise, and so does a row whose start
            does not win. Where no noise wins, DeepFool looks for a start.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Brendel, Rauber, Kuemmerer, Ustyuzhaninov, Bethge, 2019, arXiv 1907.01003"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    steps: int = 1000
    radius: float = 0.1
    decay: float = 0.5
    decays: int = 20
    momentum: float = 0.8
    overshoot: float = 1.1
    halvings: int = 10
    start: Tensor | None = None
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.radius, "radius")
        checks.share(self.decay, "decay")
        checks.count(self.decays, "decays")
        checks.share(1 - self.momentum, "1 - momentum")
        checks.not_negative(self.overshoot - 1, "overshoot - 1")
        checks.not_negative(2 - self.overshoot, "2 - overshoot")
        checks.count(self.halvings, "halvings")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        walk = Walk(model, x, goal, threat, generator, ENDLESS)
        rows = self._begin(walk)
        if not len(rows):
            return walk.end()
        task, point = walk.task[rows], walk.found.value[rows]
        z = walk.back(rows, point, walk.size(rows, point) / 2**self.halvings) - task.x
        box = getattr(innermost(threat), "box", None)
        reach = torch.full_like(z.flatten(1)[:, 0], self.radius * math.sqrt(z[0].numel()) * (box.width if box else 1.0))
        limits, slope = room(task.threat, task.x), torch.zeros_like(z)
        for step in range(self.steps):
            here, score = self._look(walk, task, z)
            slope = here if step == 0 else (1 - self.momentum) * here + self.momentum * slope
            need = -score * torch.where(score > 0, 2 - self.overshoot, self.overshoot)
            shrunk = reach * self.decay ** ((step + 1) // max(1, self.steps // self.decays))
            z = boundary_step(z, slope * (limits[1] > limits[0]), need, shrunk, limits, norm_of(task))
        with torch.no_grad():
            offer(walk.found, task, z, task.model(task.see(z)))
        return walk.end()

    def _begin(self, walk: Walk) -> Tensor:
        """A win for each row: the start given, noise, or by DeepFool; the rows that can still come nearer."""
        walk.begin(self.start, TRIES)
        lost = remaining(walk.found.won)
        if len(lost):
            task = walk.task[lost]
            cross(task, walk.found, task.threat.zero(task.x), 50, 0.02, 10, p=2)
        return (walk.found.won & (walk.found.size > 0)).nonzero().flatten()

    def _look(self, walk: Walk, task: Task, z: Tensor) -> tuple[Tensor, Tensor]:
        """The slope of the margin at z and the margin, which is kept where it wins."""
        slope, outputs = task.slope(self.gradient, Margin(), z)
        offer(walk.found, task, z, outputs)
        return slope.nan_to_num(0.0, 0.0, 0.0), task.goal.score(Margin(), outputs).to(z.dtype).nan_to_num(0.0)
