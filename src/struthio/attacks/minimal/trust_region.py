"""Trust region: steps toward the nearest wall, no longer than the model was found to be straight."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.walls import DUAL, Walls, approach, look, nearest_of, offer
from struthio.attacks.shrink import inside, norm_of, useful
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Threat

LONGEST = {2.0: 0.05, math.inf: 0.01}  # by norm
GOOD, BAD = 0.9, 0.5  # shares of the promised gain, above and below which the radius changes
TURNS = 10  # in the second half, the class is chosen anew after every tenth of the steps
FARTHER = 100  # by how much the longest radius has grown in the end
KEPT = 0.5  # in the second half, the share of the way so far that goes into the next step
PAST = 1.02  # by how much a step that would reach the wall is lengthened, to cross it


@dataclass(frozen=True)
class TrustRegion(Attack):
    """A small change in L2 or Linf: steps up the slope between two classes, each within a radius that is trusted.

    Which class is led to is settled once, on the input: that of the nearest wall. A step that gains nearly what its
    slope promised enlarges the radius, one that gains little reduces it (TR Adap). A row that is won is done.

    One that is not after half of the steps would be lost as published. On hardened networks slopes keep their promises
    nowhere, so that the rule arrives at the shortest radius, and they lead to and fro across ravines of that width,
    hardly ever along. From then on the radius grows from the longest, hundredfold in the end; each step keeps half of
    the way so far, in which what goes to and fro cancels; and the class is chosen anew after every tenth of the steps.
    With `adaptive=False` the radius alone stays as it is.

    Args:
        steps: how many; the authors' programs take 2,000 and 5,000.
        classes: how many of the likeliest classes are looked at, the one to get away from among them.
        radius: epsilon, the first radius.
        longest: the largest radius, a hundredth of which is the smallest; None takes 0.05 in L2 and 0.01 in Linf.
        grow: by which factor the radius changes.
        adaptive: whether it changes at all; if not, this is TR Non Adap.
        final: how many points are tried in the end on the line from x to the win; the paper's is 0.
    """

    paper: ClassVar[str] = "Yao, Gholami, Xu, Keutzer, Mahoney, 2018, arXiv 1812.06371"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    steps: int = 1000
    classes: int = 10
    radius: float = 0.001
    longest: float | None = None
    grow: float = 1.2
    adaptive: bool = True
    final: int = 3

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.classes, "classes", 2)
        checks.positive(self.radius, "radius")
        checks.positive(1.0 if self.longest is None else self.longest, "longest")
        if self.grow <= 1:
            raise checks.UserError(
                f"grow is {self.grow}; it must be above 1, such as 1.2 (to keep the radius as it is: adaptive=False)."
            )
        checks.count(self.final, "final", 0)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win of each row, brought nearer."""
        whole = task = Task.whole(model, x, goal, threat, generator)
        found, z = Smallest(x), threat.zero(x)
        walls = look(task, z, self.classes - 1)
        won, (classes, height, slope, need) = offer(found, task, z, walls.outputs), _nearest(task, walls)
        radius, way = torch.full_like(need, self.radius), torch.zeros_like(z)
        for step in range(self.steps):
            stay = remaining(won)
            if not len(stay):
                break
            task, z, height, slope = task[stay], z[stay], height[stay], slope[stay]
            need, radius, classes, way = need[stay], radius[stay], classes[stay], way[stay]
            late = 2 * step / self.steps - 1  # from 0 in the middle to nearly 1
            if late >= 0 and step % max(1, self.steps // TURNS) == 0:
                classes, height, slope, need = _nearest(task, look(task, z, self.classes - 1))
            radius = self._farther(radius, late, norm_of(task))
            way = _onward(task, z, slope, way if late >= 0 else torch.zeros_like(way))
            ahead, promised = _step(task, z, slope, way, need, radius)
            there = look(task, ahead, None if walls.classes is None else classes)
            won = offer(found, task, ahead, there.outputs)
            radius = self._trusted(radius, (there.heights[:, 0] - height) / promised, norm_of(task))
            z, height, slope, need = ahead, there.heights[:, 0], there.slopes[:, 0], there.need(x.dtype)[:, 0]
        approach(whole, found, self.final)
        return found.inside(x, threat)

    def _trusted(self, radius: Tensor, ratio: Tensor, p: float) -> Tensor:
        """The next radius, after a step that gained this share of what it promised."""
        if not self.adaptive:
            return radius
        factor = torch.where(ratio > GOOD, self.grow, torch.where(ratio < BAD, 1 / self.grow, 1.0))
        longest = self._longest(p)
        return (radius * factor.to(radius.dtype)).clamp(longest / 100, longest)

    def _farther(self, radius: Tensor, late: float, p: float) -> Tensor:
        """The radius, which in the second half, of which the share `late` is over, grows whatever the steps gain."""
        return torch.full_like(radius, self._longest(p) * FARTHER**late) if self.adaptive and late >= 0 else radius

    def _longest(self, p: float) -> float:
        return LONGEST[p] if self.longest is None else self.longest


def _nearest(task: Task, walls: Walls) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The nearest wall: the class beyond it [n, 1], its height [n], its slope [n, ...] and its need [n]."""
    place = nearest_of(walls, norm_of(task))[:, None]
    classes = place if walls.classes is None else walls.classes.gather(1, place)
    return classes, _of(walls.heights, place), _of(walls.slopes, place), _of(walls.need(task.x.dtype), place)


def _of(values: Tensor, place: Tensor) -> Tensor:
    """Of values [n, k, ...] the one at its place, [n, ...]."""
    return values[torch.arange(len(values), device=values.device), place[:, 0]]


def _onward(task: Task, z: Tensor, slope: Tensor, way: Tensor) -> Tensor:
    """Where to go: up the slope, at Euclidean length 1, with a part of the way so far, and not out of the limits."""
    slope = useful(task, z, slope)
    return useful(task, z, slope / per_row(norm(slope, 2).clamp(min=1e-12), z) + KEPT * way)


def _step(task: Task, z: Tensor, slope: Tensor, way: Tensor, need: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """The step that gains most within the radius, or reaches the wall; and what it promises to gain, [n]."""
    p = norm_of(task)
    steep = norm(useful(task, z, slope), DUAL[p]).clamp(min=1e-12)
    way = way.sign() if p == math.inf else way / per_row(norm(way, 2).clamp(min=1e-12), z)
    ahead = inside(task, z + per_row(PAST * torch.minimum(need / steep, radius), z) * way)
    return ahead, ((ahead - z) * slope).flatten(1).sum(1).clamp(min=1e-30)
