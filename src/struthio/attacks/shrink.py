"""The loop that looks for the smallest change: whatever a rule tries next, the smallest win of each row is kept."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.types import Goal, Gradient, Loss, State, Threat


@dataclass(frozen=True)
class Seen:
    """What one look at z showed, a row each.

    Attributes:
        slope: of the goal's score at z, in the shape of z.
        outputs: of the model, [n, classes].
        score: the goal's score, [n]; with the margin loss above 0 where the row is won.
        won: which rows are won, bool [n].
        size: of the change, [n].
        best: the smallest size that won so far, this look included, [n]; infinite where none has.
    """

    slope: Tensor
    outputs: Tensor
    score: Tensor
    won: Tensor
    size: Tensor
    best: Tensor


class Rule(Protocol):
    """Where to look next: the part in which attacks that look for the smallest change differ."""

    def start(self, task: Task, z: Tensor) -> State:
        """What is remembered before the first look."""
        ...

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """The next z, and what to remember. `step` counts from 0."""
        ...


def shrink(
    model: Metered,
    x: Tensor,
    goal: Goal,
    threat: Threat,
    generator: RowGenerator,
    *,
    steps: int,
    rule: Rule,
    loss: Loss,
    gradient: Gradient = Autograd(),  # noqa: B008 - frozen
    start: Tensor | None = None,
) -> Tensor:
    """Look `steps` times, beginning at no change or where told, and once more at the last z.

    Args:
        rule: where to look next.
        loss: whose slope is taken.
        start: where to begin, [n, ...] as the threat's z; None begins at no change, which is asked about in any case.

    Returns:
        For each row the smallest change that won, or the attempt of highest score, within the threat, [n, ...].

    Raises:
        UserError: where the threat has no norm.
    """
    if getattr(threat, "p", None) is None:
        raise UserError(
            f"{type(threat).__name__} has no norm in which a change could be small. Take Linf, L2, L1 or L0, or look "
            "for its smallest radius with SmallestRadius(PGD())."
        )
    task = Task.whole(model, x, goal, threat, generator)
    found = Smallest(x)
    z = threat.zero(x)
    if start is not None:
        score, won = task.judge(loss, z)
        found.offer(task.rows, task.see(z), threat.size(x, task.see(z)), score, won)
        z = start
    state = rule.start(task, z)
    for step in range(steps):
        slope, outputs = task.slope(gradient, loss, z)
        x_adv = task.see(z).detach()
        score, won, size = goal.score(loss, outputs), goal.success(outputs), threat.size(x, x_adv)
        found.offer(task.rows, x_adv, size, score, won)
        seen = Seen(slope, outputs, score.nan_to_num(0.0), won, size, found.size.to(size.dtype))
        z, state = rule.move(task, z, seen, state, step)
    score, won = task.judge(loss, z)
    x_adv = task.see(z).detach()
    found.offer(task.rows, x_adv, threat.size(x, x_adv), score, won)
    return found.inside(x, threat)


def norm_of(task: Task) -> float:
    """The norm that is to be small: infinity, 2, 1 or 0."""
    return float(task.threat.p)  # type: ignore[attr-defined]


def cosine(first: float, last: float, step: int, steps: int) -> float:
    """From the first value to the last along half a wave."""
    return last + (first - last) * (1 + math.cos(math.pi * step / steps)) / 2


def unit(task: Task, z: Tensor, slope: Tensor, step: int) -> Tensor:
    """The slope at Euclidean length 1, a random direction where it vanishes: there a row would be stuck for ever."""
    length = norm(slope, 2)
    tiny = torch.finfo(z.dtype).tiny
    if bool((length < tiny).any()):
        lot = task.threat.useful(task.x, z, task.generator.fold(step).normal(z.shape[1:], z.dtype))
        slope = where_rows(length < tiny, lot, slope)
        length = norm(slope, 2)
    return slope / per_row(length.clamp(min=tiny), z)


def useful(task: Task, z: Tensor, slope: Tensor) -> Tensor:
    """The slope, zero where it leads out of the limits, seen a hair ahead of z: rounding must not decide."""
    hair = 16 * torch.finfo(z.dtype).eps * (1 + task.x.abs())
    return task.threat.useful(task.x, z + hair * slope.sign(), slope)


def widest(task: Task) -> Tensor:
    """The largest size that is of any use, [n]: the radius, and no more than the limits allow."""
    eps = torch.as_tensor(task.threat.eps, dtype=task.x.dtype, device=task.x.device)
    return torch.minimum(task.threat.farthest(task.x), eps)


def inside(task: Task, z: Tensor) -> Tensor:
    """The nearest z between the limits and inside the mask, of whatever size: a search may go beyond its radius."""
    return task.threat.at(torch.inf).project(task.x, z)
