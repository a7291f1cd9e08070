"""The boundary attack: random steps around x on the winning side, each a little nearer, of lengths that adapt."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable
from struthio.attacks.queries.probes import probes
from struthio.attacks.task import narrow
from struthio.attacks.walk import Walk
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.types import Goal, State, Threat


@dataclass(frozen=True)
class Boundary(Attack):
    """The first attack from labels alone, in L2; HopSkipJump finds the same for far fewer questions.

    Each proposal is a random step on the sphere around x, then one towards x. The steps towards x grow where more than
    a quarter of the last 30 proposals won, and shrink where less than a tenth did. Every `every`-th time the point on
    the sphere is asked about too: where more than half of the last 10 of these won, both steps grow, and where less
    than a fifth did, they shrink. (Other implementations count only every tenth proposal, and so adapt far later.)

    Args:
        queries: the most questions a row.
        spherical: the first length of a step on the sphere, as a share of the distance.
        source: the first length of a step towards x, as a share of the distance.
        adaptation: the factor by which steps grow and shrink.
        every: after how many proposals the point on the sphere is asked about too.
        converged: a row is done when its step towards x is shorter than this share.
        start: inputs that win, [n, ...] or to be expanded to it; None starts from noise, and so does a row whose start
            does not win. A search for a target needs one: noise hardly ever is of a chosen class.
    """

    paper: ClassVar[str] = "Brendel, Rauber, Bethge, 2018, arXiv 1712.04248"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    queries: int = 25_000
    spherical: float = 0.01
    source: float = 0.01
    adaptation: float = 1.5
    every: int = 10
    converged: float = 1e-7
    start: Tensor | None = None

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.positive(self.spherical, "spherical")
        checks.share(self.source, "source")
        checks.positive(self.adaptation - 1, "adaptation - 1")
        checks.count(self.every, "every")
        checks.share(self.converged, "converged")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        walk = Walk(model, x, goal, threat, generator, self.queries)
        free, rows = changeable(walk.task), walk.begin(self.start)
        point = walk.found.value[rows]
        point = walk.back(rows, point, 1e-3 * walk.size(rows, point))
        state, lots = self._begin(point), generator.fold(1)[rows]
        converged = max(self.converged, 8 * torch.finfo(x.dtype).eps)
        for turn in itertools.count():
            examined = turn % self.every == 0
            stay = (walk.left[rows] > examined) & (state["source"] >= converged)
            if not bool(stay.all()):
                rows, point, state, lots = rows[stay], point[stay], narrow(state, stay), lots[stay]
            if not len(rows):
                break
            noise = probes(lots, free[rows], x)(1)[0]
            around, nearer = _proposals(x[rows], point, noise, state)
            won, seen = walk.ask(rows, nearer)
            point = where_rows(won & (walk.size(rows, seen) < walk.size(rows, point)), seen, point)
            state = self._adapt(state, "source", won, 30, (0.1, 0.25))
            if examined:
                state = self._adapt(state, "spherical", walk.ask(rows, around)[0], 10, (0.2, 0.5))
        return walk.end()

    def _begin(self, point: Tensor) -> State:
        none = torch.zeros(len(point), dtype=point.dtype, device=point.device)
        steps = {"spherical": none + self.spherical, "source": none + self.source}
        return {**steps, **{f"{name} {count}": none for name in steps for count in ("asked", "won")}}

    def _adapt(self, state: State, name: str, won: Tensor, window: int, usual: tuple[float, float]) -> State:
        """Count wins; after `window` questions a step that won more than usual grows, one that won less shrinks."""
        asked, wins = state[f"{name} asked"] + 1, state[f"{name} won"] + won
        share, full = wins / asked, asked >= window
        factor = torch.ones_like(share)
        factor = factor.masked_fill(full & (share > usual[1]), self.adaptation)
        factor = factor.masked_fill(full & (share < usual[0]), 1 / self.adaptation)
        counts = {f"{name} asked": asked * ~full, f"{name} won": wins * ~full}
        both = {"source": state["source"] * factor}  # which is a share of the step on the sphere in effect
        return {**state, **counts, **both, name: state[name] * factor}


def _proposals(x: Tensor, point: Tensor, noise: Tensor, state: State) -> tuple[Tensor, Tensor]:
    """A point beside the last one, as far from x as that is, and the same with a step towards x."""
    change = point - x
    length = norm(change, 2)
    away = change / per_row(length, x)
    aside = noise - away * per_row((noise * away).flatten(1).sum(1), x)
    aside = aside / per_row(norm(aside, 2).clamp(min=1e-12), x) * per_row(state["spherical"] * length, x)
    around = (change + aside) / per_row((1 + state["spherical"].square()).sqrt(), x)
    return x + around, x + around * per_row(1 - state["source"], x)
