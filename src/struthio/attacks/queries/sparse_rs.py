"""Sparse-RS: some of the few changed pixels are taken back and as many others set to extreme colours, if it helps."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable, climb
from struthio.attacks.places import by_place, changes_values, limits, lots
from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Loss, State, Threat

# After so many questions of 10,000 the share of pixels exchanged is alpha_init over so much.
SCHEDULE = ((0, 2), (50, 4), (200, 5), (500, 6), (1000, 8), (2000, 10), (4000, 12), (6000, 15), (8000, 20))


@dataclass(frozen=True)
class SparseRS(Attack):
    """Random search among changes of few pixels or values: Sparse-RS in L0.

    As many pixels as the threat allows hold colours from the corners of the colour cube, never the colour that was
    there. Each proposal exchanges a share of them, which falls; a pixel just taken back may be drawn again, in a new
    colour.

    Args:
        queries: the most questions a row.
        alpha_init: the share of the pixels exchanged at first; it falls to a twentieth over `queries`.
        loss: what has to rise; the paper takes CrossEntropy() for a target.
    """

    paper: ClassVar[str] = "Croce, Andriushchenko, Singh, Flammarion, Hein, 2022, arXiv 2006.12834"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    queries: int = 10_000
    alpha_init: float = 0.3
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.share(self.alpha_init, "alpha_init")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "SparseRS")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best set of pixels."""
        check_finite(threat)
        return climb(model, x, goal, threat, generator, queries=self.queries, rule=self, loss=self.loss)

    def start(self, task: Task) -> State:
        """How far down and up each value may go."""
        free, (down, up) = changeable(task), limits(task.threat).room(task.x)
        return {"down": by_place(task.threat, down * free), "up": by_place(task.threat, up * free)}

    def learn(self, state: State, rose: Tensor) -> State:
        """Nothing new."""
        return state

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """Random pixels, then the best ones with some of them exchanged."""
        down, up = state["down"], state["up"]
        flat = by_place(task.threat, z)
        held = (flat != 0).any(1)
        most = torch.as_tensor(task.threat.eps, device=z.device).expand(len(z)).long()[:, None]
        swapped = most if query == 0 else (most * self._share(query - 1)).long().clamp(min=1).minimum(most)
        lot = task.generator.uniform((2, held.shape[1]))
        back, meant = lots(lot[:, 0], held, swapped)
        kept = held.scatter(1, back, held.gather(1, back) & ~meant)
        free = ((down != 0) | (up != 0)).any(1) & ~kept
        place, meant = lots(lot[:, 1], free, most - kept.sum(1, keepdim=True))
        place = place[:, None].expand(-1, flat.shape[1], -1)
        colour = _corners(task, down.gather(2, place), up.gather(2, place))
        flat = torch.where(kept[:, None], flat, 0.0)
        flat = flat.scatter(2, place, torch.where(meant[:, None], colour, flat.gather(2, place)))
        return flat.reshape(z.shape), state

    def _share(self, query: int) -> float:
        """Alpha, the share of the pixels exchanged."""
        count = query * 10_000 // self.queries
        return self.alpha_init / max([1, *(part for mark, part in SCHEDULE if count > mark)])


def _corners(task: Task, down: Tensor, up: Tensor) -> Tensor:
    """Changes [n, c, k] to random corners of the colour cube, to the opposite one where that is no change."""
    high = task.generator.integers(2, (down.shape[2], down.shape[1])).transpose(1, 2) == 1
    colour = torch.where(high, up, down)
    return torch.where((colour == 0).all(1, keepdim=True), torch.where(high, down, up), colour)
