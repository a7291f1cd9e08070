"""The walls between classes: how high each stands at a point, its slope there, and the shortest way to the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.goals import Drift, Untargeted
from struthio.losses import Margin
from struthio.rows import norm, per_row
from struthio.types import Goal, Threat

FAR = 1e30
HAIRS = 16  # how many times the rounding of an output a point must be past a wall
DUAL = {1: torch.inf, 2: 2, torch.inf: 1}  # the norm of a slope that turns a height into a distance


@dataclass(frozen=True)
class Walls:
    """What stands between points and their goals, to first order.

    Attributes:
        heights: of the class differences, [n, k]; below 0 until the wall is crossed.
        slopes: of the heights in z, [n, k, ...].
        outputs: of the model, [n, classes].
        classes: beyond each wall, [n, k]; None where the goal is one wall.
    """

    heights: Tensor
    slopes: Tensor
    outputs: Tensor
    classes: Tensor | None

    def need(self, dtype: torch.dtype) -> Tensor:
        """How much each height must rise to be a hair past its wall, where rounding would decide who won, [n, k]."""
        hair = HAIRS * torch.finfo(dtype).eps * self.outputs.abs().amax(1, keepdim=True)
        return (hair - self.heights).to(dtype).nan_to_num(0.0)


def home(goal: Goal) -> Tensor | None:
    """The classes [n] to get away from; None where that is not all the goal asks."""
    if isinstance(goal, Untargeted):
        return goal.labels
    return goal.outputs.argmax(1) if isinstance(goal, Drift) else None


def rivals(goal: Goal, outputs: Tensor, count: int | None) -> Tensor | None:
    """The likeliest classes beside the one to get away from, at most `count` (None: all), [n, k]."""
    here = home(goal)
    if here is None:
        return None
    toward = getattr(goal, "toward", None)
    if toward is not None:
        return torch.as_tensor(toward)[:, None]
    most = outputs.shape[1] - 1
    wrong = outputs.detach().scatter(1, here[:, None], -torch.inf)
    return wrong.argsort(stable=True, dim=1, descending=True)[:, : min(count or most, most)]


def margin(goal: Goal, outputs: Tensor) -> Tensor:
    """How far past all that stands in the way the outputs are, [n]; above 0 where the row is won."""
    here = home(goal)
    return goal.score(Margin(), outputs) if here is None else Margin().away(outputs, here)


def look(task: Task, z: Tensor, classes: Tensor | int | None) -> Walls:
    """The walls at z, by one forward and one backward a wall.

    Where the goal is to get away from a class, there is a wall to each of `classes` [n, k], or to so many of the
    likeliest; any other goal is one wall, its margin.

    Raises:
        UserError: where the model passes no gradient.
    """
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        outputs = task.model(task.see(z))
        if not outputs.requires_grad:
            raise UserError(
                "the model's outputs carry no gradient: it is a score or label view, or it computes outside torch or "
                "under no_grad. Attack the model itself, or take an attack that needs no gradient."
            )
        if not isinstance(classes, Tensor):
            classes = rivals(task.goal, outputs, classes)
        heights = _heights(task.goal, outputs, classes)
        slopes = [torch.autograd.grad(wall.sum(), z, retain_graph=True)[0] for wall in heights.unbind(1)]
    return Walls(heights.detach(), torch.stack(slopes, 1).nan_to_num(0.0, 0.0, 0.0), outputs.detach(), classes)


def _heights(goal: Goal, outputs: Tensor, classes: Tensor | None) -> Tensor:
    here = home(goal)
    if here is None or classes is None:
        return goal.score(Margin(), outputs)[:, None]
    return outputs.gather(1, classes) - outputs.gather(1, here[:, None])


def room(threat: Threat, x: Tensor) -> tuple[Tensor, Tensor]:
    """How far down and up each value may go, whatever the radius: within the limits, and not at all under a mask."""
    free, far = threat.at(torch.inf), torch.full_like(x, FAR)
    return free.project(x, -far), free.project(x, far)


def nearest(walls: Walls, p: float) -> tuple[Tensor, Tensor]:
    """Of the wall that is nearest in the p-norm, were there no limits: its slope, [n, ...], and its need, [n]."""
    which, rows = nearest_of(walls, p), torch.arange(len(walls.heights), device=walls.heights.device)
    return walls.slopes[rows, which], walls.need(walls.slopes.dtype)[rows, which]


def nearest_of(walls: Walls, p: float) -> Tensor:
    """Which wall that is, by its place in each row, [n]."""
    need, (n, k) = walls.need(walls.slopes.dtype), walls.heights.shape
    steep = norm(walls.slopes.flatten(0, 1), DUAL[p]).reshape(n, k)
    return (need.abs() / steep.clamp(min=1e-12)).argmin(1)


def offer(found: Smallest, task: Task, z: Tensor, outputs: Tensor) -> Tensor:
    """Keep what the model was asked about where it is the smallest win so far; returns which rows z wins, [n]."""
    x_adv = task.see(z).detach()
    won = task.goal.success(outputs)
    found.offer(task.rows, x_adv, task.threat.size(task.x, x_adv), margin(task.goal, outputs), won)
    return won


@torch.no_grad()
def approach(task: Task, found: Smallest, steps: int) -> None:
    """Bring each win nearer along the line to x: to where the margin between both ends, taken for straight, is 0.

    It aims a hundredth past that, for at 0 rounding would decide who won; a loss halves the margin of the other end.
    """
    rows = found.won[task.rows].nonzero().flatten()
    rows = rows[found.size[task.rows[rows]] > 0]
    if not len(rows) or not steps:
        return
    task = task[rows]
    far = found.value[task.rows] - task.x
    outputs = task.model(task.see(torch.zeros_like(far)))
    below, above = margin(task.goal, outputs).to(far.dtype), found.score[task.rows].to(far.dtype)
    low, high = torch.zeros_like(below), torch.ones_like(below)
    hair = HAIRS * torch.finfo(far.dtype).eps * outputs.abs().amax(1).to(far.dtype)
    for _ in range(steps):
        share = ((above / 100 + hair - below) / (above - below).clamp(min=1e-30)).clamp(0, 1).nan_to_num(0.5)
        middle = low + share * (high - low)
        z = far * per_row(middle, far)
        outputs = task.model(task.see(z))
        won, here = offer(found, task, z, outputs), margin(task.goal, outputs).to(far.dtype)
        below, above = torch.where(won, below, here), torch.where(won, here, above / 2)
        low, high = torch.where(won, low, middle), torch.where(won, middle, high)
