"""GeoDA: the boundary is taken for flat; along its normal, which random probes have shown, it is nearest to x."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable
from struthio.attacks.queries.probes import probes
from struthio.attacks.queries.windows import as_pictures
from struthio.attacks.walk import Walk, span
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class GeoDA(Attack):
    """The smallest L2 or Linf change, from labels alone, where the boundary is nearly flat.

    Each round finds the normal at a point of the boundary and leaves x along it (in Linf along its signs) until it
    meets the boundary again. Later rounds are worth more questions, by the same factor each.

    Args:
        queries: the most questions a row.
        rounds: T, how many normals; the paper has one for every 500 questions.
        convergence: lambda, by which factor a round is taken to bring the point nearer to the best one; a round has
            lambda^(-2/3) times the probes of the one before.
        sigma: the standard deviation of a probe's coordinates, in a box of width 1.
        band: the share of the frequencies along each side, lowest first, that probes are made of: 75 of 224 in the
            paper; 1.0 takes all.
        start: inputs that win, [n, ...] or to be expanded to it; None starts from noise, and so does a row whose start
            does not win. A search for a target needs one: noise hardly ever is of a chosen class.
    """

    paper: ClassVar[str] = "Rahmati, Moosavi-Dezfooli, Frossard, Dai, 2020, arXiv 2003.06468"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 10_000
    rounds: int = 20
    convergence: float = 0.6
    sigma: float = 0.0002
    band: float = 1 / 3
    start: Tensor | None = None

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.count(self.rounds, "rounds")
        checks.share(self.convergence, "convergence")
        checks.positive(self.sigma, "sigma")
        checks.share(self.band, "band")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        walk = Walk(model, x, goal, threat, generator, self.queries)
        flat, free, d = getattr(threat, "p", None) == math.inf, changeable(walk.task), x[0].numel()
        width = norm(torch.sub(*span(threat, x)), math.inf)
        tolerance = self.sigma / 2 * width / (math.sqrt(d) if flat else 1)

        def back(rows: Tensor, point: Tensor, along: Tensor | None = None) -> Tensor:
            return walk.back(rows, point, tolerance[rows].minimum(walk.size(rows, point) / 100), along)

        rows = walk.begin(self.start)
        point = back(rows, walk.found.value[rows])
        for turn, count in enumerate(self._plan(reserve := 20)):
            stay = walk.left[rows] > reserve
            rows, point = rows[stay], point[stay]
            if not len(rows):
                break
            spare = walk.left[rows] - reserve
            counts = spare.clamp(max=count) if turn < self.rounds - 1 else spare
            draw = probes(generator.fold(turn + 1)[rows], free[rows], x, self.band)
            slope = walk.slope(rows, point, self._reach(x) * width[rows], counts, draw)
            way = walk.task.threat[rows].steepest(x[rows], torch.zeros_like(point), slope)
            along = x[rows] + way * per_row(d * width[rows], x)
            point, met = _leave(walk, rows, point, along)
            point = back(rows, point, where_rows(met, along, point))
        return walk.end()

    def _plan(self, reserve: int) -> list[int]:
        """How many probes each round has."""
        growth = self.convergence ** (-2 / 3)
        shares = [growth**turn for turn in range(self.rounds)]
        probes = max(0, self.queries - self.rounds * reserve)
        return [max(1, int(probes * share / sum(shares))) for share in shares]

    def _reach(self, x: Tensor) -> float:
        """The usual length of a probe."""
        c, h, w = as_pictures(x).shape[1:]
        return self.sigma * math.sqrt(c * math.ceil(self.band * h) * math.ceil(self.band * w))


def _leave(walk: Walk, rows: Tensor, point: Tensor, along: Tensor) -> tuple[Tensor, Tensor]:
    """From x along a way as far as the last point, then up to eight times as far, until it wins; where it does not,
    the last point. Returns the points and where they are new.
    """
    radius, ahead = walk.size(rows, point), point.clone()
    widest = walk.task.threat[rows].farthest(walk.task.x[rows])
    met = torch.zeros(len(rows), dtype=torch.bool, device=rows.device)
    for _ in range(4):
        trying = (~met & (walk.left[rows] > 0)).nonzero().flatten()
        if not len(trying):
            break
        won, seen = walk.ask(rows[trying], along[trying], radius[trying])
        ahead[trying[won]] = seen[won]
        met[trying] = won
        radius = (radius * 2).minimum(widest)
    return ahead, met
