"""The voting folded Gaussian attack: random moves up of one value and down of another, of which the best is made."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.walls import FAR, room
from struthio.attacks.places import by_place, spread
from struthio.attacks.queries.crowd import at_once, foremost, look
from struthio.attacks.shrink import widest
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Gradient, Loss, Threat


@dataclass(frozen=True)
class VFGA(Attack):
    """Few changed values, one a step: of several random moves, half of them up and half down, the best is made.

    The value to go up is the one with the greatest slope times the room above it, and likewise the one to go down. How
    far it goes is the absolute value of a Gaussian whose deviation is that room (1 without limits), cut at the limit.
    A value that was moved is left alone from then on. Under L0(unit="pixel") all channels of a pixel move together.

    Args:
        steps: the most values that are changed; None as many as there are.
        samples: N, how many moves up and how many down are asked about in a step.
        loss: what is increased; the paper's, in effect, is the cross-entropy.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Cesaire, Hajri, Lamprier, Gallinari, 2020, arXiv 2011.12423"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    steps: int | None = None
    samples: int = 10
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        if self.steps is not None:
            checks.count(self.steps, "steps")
        checks.count(self.samples, "samples")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win of each row."""
        task, found, z = Task.whole(model, x, goal, threat, generator), Smallest(x), threat.zero(x)
        won = _offer(task, found, z, *task.judge(self.loss, z))
        most = z[0].numel() if self.steps is None else self.steps
        for step in range(most):
            stay = (~won & (task.threat.size(task.x, task.see(z)) < widest(task))).nonzero().flatten()
            if not len(stay):
                break
            task, z = task[stay], z[stay]
            slope = task.slope(self.gradient, self.loss, z)[0].nan_to_num(0.0, 0.0, 0.0)
            shares = task.generator.fold(step).normal((self.samples, 2), z.dtype).abs()
            z, score, won = self._best(task, _moves(task, z, slope, shares))
            _offer(task, found, z, score, won)
        return found.inside(x, threat)

    def _best(self, task: Task, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of z [k, n, ...] the best of each row, its score and whether it wins."""
        answers = [look(task, self.loss, part)[1:] for part in points.split(at_once(task.x))]
        score, won = (torch.cat(part) for part in zip(*answers, strict=True))
        top, each = foremost(won, score), torch.arange(len(task), device=points.device)
        return points[top, each], score[top, each], won[top, each]


def _offer(task: Task, found: Smallest, z: Tensor, score: Tensor, won: Tensor) -> Tensor:
    x_adv = task.see(z)
    found.offer(task.rows, x_adv, task.threat.size(task.x, x_adv), score, won)
    return won


def _moves(task: Task, z: Tensor, slope: Tensor, shares: Tensor) -> Tensor:
    """Z after shares [n, k, 2] of the way down of one idle place and of the way up of another, [2k, n, ...]."""
    low, high = room(task.threat, task.x)
    idle = by_place(task.threat, z.abs()).amax(1) == 0
    ways = torch.stack([_best_way(task, slope, way, idle).flatten(1) for way in (low, high)])
    steps = shares.permute(2, 1, 0)[..., None] * ways[:, None]
    return torch.clamp(z + steps.reshape(-1, *z.shape), low, high)


def _best_way(task: Task, slope: Tensor, way: Tensor, idle: Tensor) -> Tensor:
    """The ways [n, ...] to a limit, all but that of the idle place with the greatest gain set to zero."""
    way = way.where(way.abs() < FAR, way.sign())
    free = idle & (by_place(task.threat, way.abs()).amax(1) > 0)
    gain = by_place(task.threat, slope * way).sum(1).masked_fill(~free, -torch.inf)
    chosen = torch.zeros_like(gain).scatter(1, gain.argmax(1, keepdim=True), 1.0) * free
    return way * spread(chosen, way)
