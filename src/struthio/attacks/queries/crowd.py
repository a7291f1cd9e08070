"""Many points a row asked about at once, so that a search among many candidates costs few calls of the model."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.attacks.best import Best
from struthio.attacks.task import Task
from struthio.types import Loss

AT_ONCE = {"cpu": 2**18, "cuda": 2**23}  # numbers in one call: 334 digits; larger ones leave a processor's cache


def at_once(x: Tensor) -> int:
    """How many points a row may be asked about in one call."""
    return max(1, AT_ONCE.get(x.device.type, 2**20) // x.numel())


@torch.no_grad()
def look(task: Task, loss: Loss, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Ask about several z a row [k, n, ...] in one call: what the model saw, the scores and which points win."""
    k, n = points.shape[:2]
    crowd = torch.arange(n, device=points.device).repeat(k)
    goal, seen = task.goal[crowd], task.threat[crowd].apply(task.x[crowd], points.flatten(0, 1))
    outputs = task.model(seen)
    return seen.reshape(k, *task.x.shape), goal.score(loss, outputs).reshape(k, n), goal.success(outputs).reshape(k, n)


def ask(task: Task, loss: Loss, best: Best, points: Tensor, inside: bool = True) -> tuple[Tensor, Tensor]:
    """Ask about several z a row in as few calls as memory allows, and keep the best that the threat allows.

    Args:
        task: the rows asked about.
        loss: what has to rise.
        best: what each row has found so far.
        points: z, [k, n, ...].
        inside: whether all points are known to lie inside the threat; else this is looked at.

    Returns:
        The scores, and whether the point wins and is allowed, [k, n] each.
    """
    parts = [_ask(task, loss, best, part, inside) for part in points.split(at_once(task.x))]
    return torch.cat([score for score, _ in parts]), torch.cat([won for _, won in parts])


def _ask(task: Task, loss: Loss, best: Best, points: Tensor, inside: bool) -> tuple[Tensor, Tensor]:
    seen, score, won = look(task, loss, points)
    allowed = torch.ones_like(won)
    if not inside:
        allowed = torch.stack([task.threat.allows(task.x, point) for point in seen])
    won = won & allowed
    top = foremost(won, score.masked_fill(~allowed, -torch.inf))
    each = torch.arange(len(task), device=points.device)
    some = allowed.any(0)
    best.offer(task.rows[some], points[top, each][some], score[top, each][some], won[top, each][some])
    return score, won


def foremost(won: Tensor, score: Tensor) -> Tensor:
    """The number of each row's best point, [n]: of those that win if any does, the one of the highest score."""
    return score.masked_fill(~won & won.any(0), -torch.inf).argmax(0)


def difference(up: Tensor, down: Tensor) -> Tensor:
    """Up less down. What is no more than rounding is none, or a slope would be made of it where points are alike."""
    apart = up - down
    return apart * (apart.abs() > 16 * torch.finfo(up.dtype).eps * (1 + up.abs() + down.abs()))
