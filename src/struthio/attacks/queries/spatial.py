"""The search among turned and shifted pictures: an even grid of all moves, or a few at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import payable
from struthio.attacks.places import innermost
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.threats import Spatial
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class SpatialSearch(Attack):
    """A rotation and shift that wins, from labels alone; of the grid the smallest that does.

    The picture as it is comes first; a row leaves when it is won.

    Args:
        angles: how many angles the grid has, from the largest one way to the largest the other; 31 in the paper.
        shifts: how many shifts the grid has in each direction; 5 in the paper.
        random: try so many random moves and no grid: the paper's "worst of 10". 0 takes the grid.
    """

    paper: ClassVar[str] = "Engstrom, Tran, Tsipras, Schmidt, Madry, 2019, arXiv 1712.02779"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("spatial",)

    angles: int = 31
    shifts: int = 5
    random: int = 0

    def __post_init__(self) -> None:
        checks.count(self.angles, "angles")
        checks.count(self.shifts, "shifts")
        if self.random:
            checks.count(self.random, "random")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat is no Spatial."""
        super().fits(threat)
        if not isinstance(innermost(threat), Spatial):
            raise UserError(
                f"SpatialSearch turns and shifts pictures; the threat is {type(threat).__name__}. "
                "Take Spatial(angle=30, shift=0.1)."
            )

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or x."""
        task, best = Task.whole(model, x, goal, threat, generator), threat.zero(x)
        moves = self._grid(innermost(threat), x)  # type: ignore[arg-type]  # as `fits` has seen
        for turn in range(1 + (self.random or len(moves))):
            asking = payable(task.model)
            task = task if bool(asking.all()) else task[asking]
            if not len(task):
                break
            if turn == 0:
                z = threat.zero(task.x)
            elif self.random:
                z = task.threat.sample(task.x, task.generator)
            else:
                z = moves[turn - 1] * per_row(task.threat.eps, best).expand(len(task), 1)
            with torch.no_grad():
                won = task.goal.success(task.model(task.see(z)))
            best[task.rows[won]] = z[won]
            task = task[~won] if bool(won.any()) else task
        return threat.apply(x, best)

    def _grid(self, threat: Spatial, x: Tensor) -> Tensor:
        """All moves of the grid that move something, the smallest first, [moves, 3]."""
        moves = threat.grid(x, self.angles, self.shifts)
        moves = moves[(moves != 0).any(1)]
        return moves[moves.abs().amax(1).argsort(stable=True)]
