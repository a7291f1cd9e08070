"""RayS: among all vectors of signs the one along which the boundary is nearest, found by turning blocks of signs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.task import narrow
from struthio.attacks.walk import Walk, span
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm
from struthio.types import Goal, State, Threat


@dataclass(frozen=True)
class RayS(Attack):
    """The smallest Linf change along a vector of signs, from labels alone, without a start and without noise.

    A block of signs is turned. Where that wins within the radius found so far, the turn is kept and the radius halved
    down to the boundary. Then comes the next block: the whole input, its halves, its quarters, down to single values,
    over and over, until none of them helps. Each row asks one question at a time, some to try a turn while others
    search their radius. A turn has to win half a tolerance within the radius; at the radius itself, as first published,
    a turn that changes nothing wins too, and costs a search.

    Args:
        queries: the most questions a row.
        tolerance: how exactly a radius is found, as the Euclidean length of the change in a box of width 1; at
            least to a hundredth.
    """

    paper: ClassVar[str] = "Chen, Gu, 2020, arXiv 2006.12792"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    queries: int = 10_000
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.positive(self.tolerance, "tolerance")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win that was seen."""
        walk = Walk(model, x, goal, threat, generator, self.queries)
        rows = walk.first()
        widest = norm(torch.sub(*span(threat, x[rows])), math.inf)
        state = _begin(x[rows], widest, self.tolerance / math.sqrt(x[0].numel()) * widest)
        while True:
            stay = (walk.left[rows] > 0) & (state["idle"] <= x[0].numel())
            if not bool(stay.all()):
                rows, state = rows[stay], narrow(state, stay)
            if not len(rows):
                return walk.end()
            radius = torch.where(
                state["busy"], (state["low"] + state["high"]) / 2, state["best"] - _fine(state, state["best"]) / 2
            )
            change = (radius[:, None] * state["turned"]).reshape(x[rows].shape)
            won, _ = walk.ask(rows, x[rows] + change)
            state = _learn(state, radius, won)


def _begin(x: Tensor, widest: Tensor, fine: Tensor) -> State:
    """All signs up, still to be asked about, and then turned; any radius would be the best so far."""
    signs = torch.ones_like(x.flatten(1))
    none = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return {
        "signs": signs, "turned": signs, "best": widest, "fine": fine, "low": torch.zeros_like(widest),
        "high": widest, "busy": none.bool(), "level": none, "block": none - 1, "idle": none,
    }  # fmt: skip


def _learn(state: State, radius: Tensor, won: Tensor) -> State:
    """A turn that wins begins a search for its radius; one that loses, or whose radius is found, is followed by the
    next.
    """
    searching = state["busy"] | won
    high = torch.where(won, radius, state["high"])
    low = torch.where(state["busy"], torch.where(won, state["low"], radius), 0.0)
    found = searching & (high - low <= _fine(state, high))
    best = torch.where(found, high, state["best"])
    signs = torch.where(found[:, None], state["turned"], state["signs"])
    done = found | ~searching
    idle = torch.where(found | (_size(state["level"], signs.shape[1]) > 1), 0, state["idle"] + done)
    level, block = _next_block(state["level"], state["block"], signs.shape[1])
    level, block = torch.where(done, level, state["level"]), torch.where(done, block, state["block"])
    turned = torch.where(done[:, None], _turned(signs, level, block), state["turned"])
    return {
        **state, "signs": signs, "turned": turned, "best": best, "low": low, "high": high,
        "busy": searching & ~found, "level": level, "block": block, "idle": idle,
    }  # fmt: skip


def _fine(state: State, radius: Tensor) -> Tensor:
    """How exactly a radius is found: a hundredth of it, or finer."""
    return torch.minimum(state["fine"], radius / 100)


def _size(level: Tensor, d: int) -> Tensor:
    """How many values a block has: the input is cut into 2^level."""
    return -(-d // 2**level)


def _next_block(level: Tensor, block: Tensor, d: int) -> tuple[Tensor, Tensor]:
    last = (block + 1) * _size(level, d) >= d
    deepest = math.ceil(math.log2(d))
    return torch.where(last, (level + 1).clamp(max=deepest), level), torch.where(last, 0, block + 1)


def _turned(signs: Tensor, level: Tensor, block: Tensor) -> Tensor:
    """The signs with one block turned."""
    size = _size(level, signs.shape[1])
    place = torch.arange(signs.shape[1], device=signs.device)
    inside = (place >= (block * size)[:, None]) & (place < ((block + 1) * size)[:, None])
    return torch.where(inside, -signs, signs)
