"""HopSkipJump: from the boundary a step along its slope, which random probes have shown, and back to the boundary."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable
from struthio.attacks.queries.probes import probes
from struthio.attacks.walk import Walk, span
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class HopSkipJump(Attack):
    """The smallest L2 or Linf change, from labels alone.

    With `band` below 1 the probes are made of low frequencies alone, which is QEBA-F (Li, Xu, Zhang, Yang, Li, 2020,
    arXiv 2005.14137). A point lies within theta of the boundary, as a share of its distance from x: gamma / d^1.5 in L2
    and gamma / d^2 in Linf; probes are gamma / d of that distance long in both. Both are longer where rounding would
    swallow them, and shorter where x has few values. What is left of the questions at the end goes into a last, shorter
    round of probes.

    Args:
        queries: the most questions a row; 25,000 are the most in the paper.
        initial: B_0, probes for the first slope; the t-th has sqrt(t) times as many.
        most: the most probes for one slope.
        gamma: the scale of theta, which says how near to the boundary a point must lie and how far the probes reach.
        band: the share of the frequencies along each side, lowest first, that probes are made of.
        start: inputs that win, [n, ...] or to be expanded to it; None starts from noise, and so does a row whose start
            does not win. A search for a target needs one: noise hardly ever is of a chosen class.
    """

    paper: ClassVar[str] = "Chen, Jordan, Wainwright, 2020, arXiv 1904.02144"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 25_000
    initial: int = 100
    most: int = 10_000
    gamma: float = 1.0
    band: float = 1.0
    start: Tensor | None = None

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.count(self.initial, "initial")
        checks.count(self.most, "most")
        checks.positive(self.gamma, "gamma")
        checks.share(self.band, "band")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        walk = Walk(model, x, goal, threat, generator, self.queries)
        d, flat, free = x[0].numel(), getattr(threat, "p", None) == math.inf, changeable(walk.task)
        theta = self.gamma / (d * d if flat else d * math.sqrt(d))
        # Of large inputs less than this is lost in rounding; of small ones more than this is no boundary.
        theta = min(max(theta, 32 * torch.finfo(x.dtype).eps), 1e-3 * self.gamma)
        reserve = 3 + max(0, math.ceil(-math.log2(theta)))  # questions for the step and the way back
        rows = walk.begin(self.start)
        point = walk.found.value[rows]
        point = walk.back(rows, point, theta * walk.size(rows, point))
        delta = 0.1 * norm(torch.sub(*span(threat, x[rows])), math.inf)
        for turn in itertools.count(1):
            stay = walk.left[rows] > reserve
            rows, point, delta = rows[stay], point[stay], delta[stay]
            if not len(rows):
                break
            counts = (walk.left[rows] - reserve).clamp(max=min(self.most, int(self.initial * math.sqrt(turn))))
            draw = probes(generator.fold(turn)[rows], free[rows], x, self.band, flat)
            way = walk.slope(rows, point, delta, counts, draw)
            point = walk.leap(rows, point, way, walk.size(rows, point) / math.sqrt(turn))
            size = walk.size(rows, point)
            delta = size * theta * (d if flat else math.sqrt(d))
            point = walk.back(rows, point, theta * size)
        return walk.end()
