"""The first attack of all: the shortest way to another answer by L-BFGS between the limits, at the dearest price."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.quasi_newton import minimise
from struthio.attacks.minimal.walls import room
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator, where_rows
from struthio.types import Goal, Gradient, Loss, Threat


@dataclass(frozen=True)
class Otherwise:
    """The log-probability of the target, as in the paper, or of all classes but the label, where there is no target.

    Away from a label the cross-entropy grows the faster the further a row has come: between no win and one that is far
    too large there is then no price. This one levels off beyond the boundary, as the paper's does toward a target.
    """

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Log(1 - p(label)), [n]."""
        return outputs.scatter(1, labels[:, None], -torch.inf).logsumexp(1) - outputs.logsumexp(1)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log p(target), [n]."""
        return CrossEntropy().toward(outputs, targets, labels)


@dataclass(frozen=True)
class LBFGS(Attack):
    """The smallest L2 change: the least of c |z|^2 - loss between the limits, for the largest c that still wins.

    The price c of the length begins at `c`, is made ten times as large after a win and a tenth after none until both
    have been met, and is then halved in its logarithm, a row each. The paper's loss is the log-probability of a target.

    Args:
        steps: how often the model is asked for one c, at most.
        rounds: how many values of c are tried; each begins where the last that won ended, the first at no change.
        c: the first.
        memory: m, how many steps the quasi-Newton method remembers.
        loss: what is increased.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus, 2013, arXiv 1312.6199"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 100
    rounds: int = 12
    c: float = 1.0
    memory: int = 10
    loss: Loss = field(default_factory=Otherwise)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.rounds, "rounds")
        checks.positive(self.c, "c")
        checks.count(self.memory, "memory")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win for any c."""
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        c, z = torch.full((len(x),), self.c, dtype=x.dtype, device=x.device), threat.zero(x)
        dear, cheap = torch.full_like(c, torch.inf), torch.zeros_like(c)  # the least that lost, the most that won
        for _ in range(self.rounds):
            end, won = self._at_price(task, z, c, found)
            z = where_rows(won, end, z)
            cheap = torch.where(won, torch.maximum(cheap, c), cheap)
            dear = torch.where(won, dear, torch.minimum(dear, c))
            between = (cheap.sqrt() * dear.clamp(max=1e30).sqrt()).clamp(min=1e-30)
            c = torch.where((cheap > 0) & dear.isfinite(), between, torch.where(won, 10 * c, c / 10))
            stay = remaining(found.size[task.rows] == 0)  # what was won as it came is done
            task, z, c, dear, cheap = task[stay], z[stay], c[stay], dear[stay], cheap[stay]
            if not len(stay):
                break
        return found.inside(x, threat)

    def _at_price(self, task: Task, z: Tensor, c: Tensor, found: Smallest) -> tuple[Tensor, Tensor]:
        """Go down from z, and offer all that is met; returns where the sum is least, and which rows are won there.

        A win on the way says nothing of the price: the first step may be too long for any.
        """
        won = torch.zeros(len(task), dtype=torch.bool, device=z.device)
        least = torch.full_like(c, torch.inf)

        def look(rows: Tensor, flat: Tensor) -> tuple[Tensor, Tensor]:
            part, here = task[rows], flat.reshape(-1, *z.shape[1:])
            slope, outputs = part.slope(self.gradient, self.loss, here)
            x_adv, reached = part.see(here).detach(), part.goal.success(outputs)
            score = part.goal.score(self.loss, outputs).to(flat.dtype)
            found.offer(part.rows, x_adv, part.threat.size(part.x, x_adv), score, reached)
            value = c[rows] * flat.square().sum(1) - score
            lower = value < least[rows]
            won[rows], least[rows] = torch.where(lower, reached, won[rows]), torch.where(lower, value, least[rows])
            return value, 2 * c[rows, None] * flat - slope.nan_to_num(0.0, 0.0, 0.0).flatten(1)

        low, high = (side.flatten(1) for side in room(task.threat, task.x))
        end = minimise(look, z.flatten(1), low, high, steps=self.steps, memory=self.memory)
        return end.reshape(z.shape), won
