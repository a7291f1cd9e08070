"""Random search: fresh points of the threat, then ever smaller random steps from the best of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.climb import climb
from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Loss, State, Threat


@dataclass(frozen=True)
class RandomSearch(Attack):
    """Random points of whatever threat, and random steps from the best: what a cleverer search has to beat.

    Args:
        queries: the most questions a row.
        fresh: the share of the questions that are about new points, before the steps begin.
        step: the length of the last step, as a share of a random point's; the first has its whole length.
        loss: what has to rise.
    """

    paper: ClassVar[str] = "Rastrigin, 1963, The convergence of the random search method"
    access: ClassVar[str] = "scores"

    queries: int = 1000
    fresh: float = 0.1
    step: float = 0.1
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.share(self.fresh, "fresh")
        checks.share(self.step, "step")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best point."""
        check_finite(threat)
        return climb(model, x, goal, threat, generator, queries=self.queries, rule=self, loss=self.loss)

    def start(self, task: Task) -> State:
        """Nothing is remembered but the best point."""
        return {}

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """A fresh point, or a step from the best; the steps' lengths fall by the same factor each time."""
        point, done = task.threat.sample(task.x, task.generator), query / self.queries
        if done < self.fresh:
            return point, state
        length = self.step ** ((done - self.fresh) / (1 - self.fresh))
        return task.threat.project(task.x, z + length * point), state

    def learn(self, state: State, rose: Tensor) -> State:
        """Nothing is remembered but the best point."""
        return state
