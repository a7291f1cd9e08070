"""Elastic-net attack: the margin weighed against squares and absolute values, by shrinkage with momentum."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.missing import Missing
from struthio.attacks.minimal.proximal import sparse
from struthio.attacks.minimal.weight import Weight
from struthio.attacks.shrink import inside
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Gradient, State, Threat

TIMES = 10  # how often in a round a row is asked whether it still gets better


@dataclass(frozen=True)
class EAD(Attack):
    """A small change of few values: c max(kappa - margin, 0) + |z|^2 falls while a shrinkage by beta thins z out.

    FISTA: a step down the slope, every value beta nearer to 0, then on along the last move (k / (k + 3) of it). The
    slope is taken ahead; the shrunken point is asked about, too, where it is smaller than all wins before. As in the
    authors' code the shrinkage stays beta while the steps shorten, so that beta weighs more and more: the charge for
    |z|_1 is beta / step, which is 0.1 at first.

    Args:
        steps: in each round.
        rounds: how many values of c are tried; each begins afresh.
        c: the first.
        beta: the shrinkage; the larger, the fewer values change. 0 leaves the squares alone.
        rule: of several wins, keep the one with the least "L1", the least "EN" (|z|^2 + beta |z|_1), or the least
            "norm", which is that of the threat.
        kappa: by how much the wanted score must exceed the others before a row counts as won.
        step: the length of the first step; it falls with the root of the steps that are left.
        patient: whether a row goes on to the end of a round, though its sum falls no more.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Chen, Sharma, Zhang, Yi, Hsieh, 2018, arXiv 1709.04114"
    norms: ClassVar[tuple[str, ...]] = ("l1", "l2")

    steps: int = 1000
    rounds: int = 9
    c: float = 1e-3
    beta: float = 1e-3
    rule: str = "norm"
    kappa: float = 0.0
    step: float = 0.01
    patient: bool = False
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.rounds, "rounds")
        checks.positive(self.c, "c")
        checks.not_negative(self.beta, "beta")
        checks.one_of(self.rule, ("norm", "L1", "EN"), "rule")
        checks.not_negative(self.kappa, "kappa")
        checks.positive(self.step, "step")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The win of all rounds that the rule prefers."""
        task = Task.whole(model, x, goal, threat, generator)
        found, weight = Smallest(x), Weight.first(self.c, x)
        for _ in range(self.rounds):
            weight.tried(self._round(task, weight.value, found))
        return found.inside(x, threat)

    def _round(self, task: Task, c: Tensor, found: Smallest) -> Tensor:
        """FISTA from no change; returns which rows were won on the way."""
        won = torch.zeros(len(task), dtype=torch.bool, device=task.x.device)
        z = task.threat.zero(task.x)
        most = torch.full_like(c, torch.inf)
        state: State = {"c": c, "least": most, "before": most, "last": z}
        for step in range(self.steps):
            slope, cost, reached = self._look(task, z, state["c"], found)
            won[task.rows] |= reached
            state["least"] = torch.minimum(state["least"], cost)  # momentum swings: one look may be a bad one
            if not self.patient and step % max(1, self.steps // TIMES) == 0:
                stay = (state["least"] <= 0.9999 * state["before"]).nonzero().flatten()
                state["before"] = state["least"]
                if len(stay) < len(task):
                    task, z, slope, state = task[stay], z[stay], slope[stay], narrow(state, stay)
                if not len(task):
                    return won
            z, state["last"] = self._step(task, z, slope, state["last"], step)
            won[task.rows] |= self._try(task, state["last"], found)
        return won

    def _step(self, task: Task, z: Tensor, slope: Tensor, last: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Where to look next, and the shrunken point from which that is ahead."""
        length = self.step * (1 - step / self.steps) ** 0.5
        ahead = z - length * slope
        thin = inside(task, sparse(ahead, torch.full_like(ahead.flatten(1)[:, 0], self.beta)))
        return inside(task, thin + step / (step + 3) * (thin - last)), thin

    def _look(self, task: Task, z: Tensor, c: Tensor, found: Smallest) -> tuple[Tensor, Tensor, Tensor]:
        """The slope of the smooth part of the sum at z, the sum [n], and which rows are won with kappa to spare [n]."""
        seen = Missing.at(task, self.gradient, z, self.kappa)
        self._offer(task, found, seen.x_adv, seen.margin, seen.won)
        cost = elastic(z, self.beta) + c * seen.amount
        return 2 * z + per_row(c, z) * seen.slope, cost, seen.won

    @torch.no_grad()
    def _try(self, task: Task, thin: Tensor, found: Smallest) -> Tensor:
        """Which shrunken points are smaller than all wins so far, and win with kappa to spare, [n]."""
        won = self._size(task, task.see(thin)) < found.size[task.rows]
        rows = won.nonzero().flatten()
        if len(rows):
            task, thin = task[rows], thin[rows]
            outputs = task.model(task.see(thin))
            margin = task.goal.score(Margin(), outputs)
            won[rows] = task.goal.success(outputs) & (margin >= self.kappa)
            self._offer(task, found, task.see(thin), margin, won[rows])
        return won

    def _offer(self, task: Task, found: Smallest, x_adv: Tensor, margin: Tensor, won: Tensor) -> None:
        kept = won & task.threat.allows(task.x, x_adv)  # the least by the rule may lie beyond the radius
        found.offer(task.rows, x_adv, self._size(task, x_adv), margin, kept)

    def _size(self, task: Task, x_adv: Tensor) -> Tensor:
        """By which wins are compared, [n]."""
        if self.rule == "norm":
            return task.threat.size(task.x, x_adv)
        change = x_adv - task.x
        return norm(change, 1) if self.rule == "L1" else elastic(change, self.beta)


def elastic(z: Tensor, beta: float) -> Tensor:
    """|z|^2 + beta |z|_1, [n]."""
    return z.flatten(1).square().sum(1) + beta * norm(z, 1)
