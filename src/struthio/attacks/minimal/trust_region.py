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
PAST = 1.02  # by how much a step that would reach the wall is lengthened, to cross it


@dataclass(frozen=True)
class TrustRegion(Attack):
    """A small change in L2 or Linf: steps up the slope between two classes, each within a radius that is trusted.

    Which class is led to is settled once, on the input: that of the nearest wall. A step that gains nearly what its
    slope promised enlarges the radius, one that gains little reduces it (TR Adap). A row that is won is done. One that
    is not after half of the steps goes on with the longest radius: where the slope keeps its promises nowhere, as on
    hardened networks, the rule would leave it with the shortest, and no number of steps would lead to the wall. From
    then on the class is chosen anew, too, after every tenth of the steps: the slope to the first may lead to a place
    from which no way goes on. As published, the first is kept.

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
        radius = torch.full_like(need, self.radius)
        for step in range(self.steps):
            stay = remaining(won)
            if not len(stay):
                break
            task, z, height, slope = task[stay], z[stay], height[stay], slope[stay]
            need, radius, classes = need[stay], radius[stay], classes[stay]
            if 2 * step >= self.steps and step % max(1, self.steps // TURNS) == 0:
                classes, height, slope, need = _nearest(task, look(task, z, self.classes - 1))
            ahead, promised = _step(task, z, slope, need, radius)
            there = look(task, ahead, None if walls.classes is None else classes)
            won = offer(found, task, ahead, there.outputs)
            ratio = (there.heights[:, 0] - height) / promised
            radius = self._trusted(radius, ratio, norm_of(task), late=2 * (step + 1) >= self.steps)
            z, height, slope, need = ahead, there.heights[:, 0], there.slopes[:, 0], there.need(x.dtype)[:, 0]
        approach(whole, found, self.final)
        return found.inside(x, threat)

    def _trusted(self, radius: Tensor, ratio: Tensor, p: float, late: bool) -> Tensor:
        """The next radius, after a step that gained this share of what it promised."""
        if not self.adaptive:
            return radius
        factor = torch.where(ratio > GOOD, self.grow, torch.where(ratio < BAD, 1 / self.grow, 1.0))
        longest = LONGEST[p] if self.longest is None else self.longest
        shortest = longest if late else longest / 100
        return (radius * factor.to(radius.dtype)).clamp(shortest, longest)


def _nearest(task: Task, walls: Walls) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The nearest wall: the class beyond it [n, 1], its height [n], its slope [n, ...] and its need [n]."""
    place = nearest_of(walls, norm_of(task))[:, None]
    classes = place if walls.classes is None else walls.classes.gather(1, place)
    return classes, _of(walls.heights, place), _of(walls.slopes, place), _of(walls.need(task.x.dtype), place)


def _of(values: Tensor, place: Tensor) -> Tensor:
    """Of values [n, k, ...] the one at its place, [n, ...]."""
    return values[torch.arange(len(values), device=values.device), place[:, 0]]


def _step(task: Task, z: Tensor, slope: Tensor, need: Tensor, radius: Tensor) -> tuple[Tensor, Tensor]:
    """The step that gains most within the radius, or reaches the wall; and what it promises to gain, [n]."""
    p = norm_of(task)
    slope = useful(task, z, slope)
    steep = norm(slope, DUAL[p]).clamp(min=1e-12)
    way = slope.sign() if p == math.inf else slope / per_row(steep, z)
    ahead = inside(task, z + per_row(PAST * torch.minimum(need / steep, radius), z) * way)
    return ahead, ((ahead - z) * slope).flatten(1).sum(1).clamp(min=1e-30)
