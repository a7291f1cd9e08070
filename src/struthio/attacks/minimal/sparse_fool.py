"""SparseFool: DeepFool says where the boundary is and how it lies, and as few values as can cross that plane move."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.deepfool import PAST, cross
from struthio.attacks.minimal.walls import look, offer, room
from struthio.attacks.shrink import norm_of
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.threats.projections import onto_plane
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class SparseFool(Attack):
    """Few changed values, or a small sum of changes: the flat boundary is crossed along its steepest values.

    Each step asks DeepFool (in L2) for a point past the boundary, takes the slope there for the normal of a plane, and
    moves the value of greatest slope as far as it may go, then the next, until the plane is reached. In L0 the value
    that gains most on the way to its limit comes first; the paper's order, by slope, is best in L1. Toward a target the
    wall is that to the strongest other class.

    Args:
        steps: how many planes are tried.
        lam: lambda, how many times as far as DeepFool's point the plane is put. 1 gives the smallest changes; more
            (the authors' code takes 3) gets there in fewer steps.
        overshoot: by what share the whole change is lengthened (epsilon), and DeepFool's in turn.
        inner: the most steps of DeepFool.
        classes: how many of the likeliest classes DeepFool looks at, the one to get away from among them.
    """

    paper: ClassVar[str] = "Modas, Moosavi-Dezfooli, Frossard, 2019, arXiv 1811.02248"
    norms: ClassVar[tuple[str, ...]] = ("l1", "l0")

    steps: int = 20
    lam: float = 1.0
    overshoot: float = 0.02
    inner: int = 50
    classes: int = 10

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.lam, "lam")
        checks.not_negative(self.overshoot, "overshoot")
        checks.count(self.inner, "inner")
        checks.count(self.classes, "classes", 2)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        task, found, z = Task.whole(model, x, goal, threat, generator), Smallest(x), threat.zero(x)
        with torch.no_grad():
            won = offer(found, task, z, task.model(task.see(z)))
        for _ in range(self.steps):
            stay = remaining(won)
            if not len(stay):
                break
            task, z = task[stay], z[stay]
            z = self._onto_the_plane(task, found, z)
            ahead = torch.clamp((1 + self.overshoot) * z, *room(task.threat, task.x))
            with torch.no_grad():
                won = offer(found, task, ahead, task.model(task.see(ahead)))
        return found.inside(x, threat)

    def _onto_the_plane(self, task: Task, found: Smallest, z: Tensor) -> Tensor:
        """The point nearest to z on the plane that DeepFool's way from z suggests."""
        there = cross(task, found, z, self.inner, self.overshoot, self.classes, p=2)
        walls = look(task, there, 1)
        offer(found, task, there, walls.outputs)
        low, high = room(task.threat, task.x)
        slope = walls.slopes[:, 0] * (high > low)  # nothing under a mask
        need = self.lam * (slope * (there - z)).flatten(1).sum(1)
        step = onto_plane(slope, need.clamp(min=0) + PAST, (low - z, high - z), norm_of(task))
        return torch.clamp(z + step, low, high)
