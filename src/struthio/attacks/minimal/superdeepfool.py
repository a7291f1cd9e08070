"""SuperDeepFool: DeepFool to the boundary, then onto the normal of the boundary through x, in turn."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.deepfool import cross
from struthio.attacks.minimal.walls import approach, look, offer, room
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class SuperDeepFool(Attack):
    """A small L2 change that is at a right angle to the boundary, SDF(infinity, 1) of the paper.

    Args:
        steps: the most turns of a row, each a DeepFool and a projection; a row whose projection wins is done.
        inner_steps: the most steps of each DeepFool.
        overshoot: by what share DeepFool's steps are lengthened.
        classes: how many of the likeliest classes are looked at, the one to get away from among them.
        final: how many points are tried in the end on the line from x to the best.
    """

    paper: ClassVar[str] = "Abdollahpour, Abroshan, Moosavi-Dezfooli, 2023, arXiv 2303.12481"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 100
    inner_steps: int = 50
    overshoot: float = 0.02
    classes: int = 10
    final: int = 10

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.inner_steps, "inner_steps")
        checks.not_negative(self.overshoot, "overshoot")
        checks.count(self.classes, "classes", 2)
        checks.count(self.final, "final", 0)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all points."""
        whole = task = Task.whole(model, x, goal, threat, generator)
        found, z = Smallest(x), threat.zero(x)
        for _ in range(self.steps):
            beyond = cross(task, found, z, self.inner_steps, self.overshoot, self.classes)
            z = self._project(task, found, z, beyond)
            with torch.no_grad():
                won = offer(found, task, z, task.model(task.see(z)))
            stay = remaining(won | (norm(beyond, 2) == 0))
            task, z = task[stay], z[stay]
            if not len(stay):
                break
        approach(whole, found, self.final)
        return found.inside(x, threat)

    def _project(self, task: Task, found: Smallest, z: Tensor, beyond: Tensor) -> Tensor:
        """From z along the normal at the point beyond, as far as that point is from x along the normal."""
        walls = look(task, beyond, 1)  # that to the strongest other class
        offer(found, task, beyond, walls.outputs)
        low, high = room(task.threat, task.x)
        way = walls.slopes[:, 0] * (high > low)
        way = way / per_row(norm(way, 2).clamp(min=1e-30), way)
        return (z + per_row((beyond * way).flatten(1).sum(1), way) * way).clamp(low, high)
