"""Carlini and Wagner's L2 attack: the length and the margin are weighed against each other, behind a tanh."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.minimal.carlini_wagner_warm import WarmRounds
from struthio.attacks.minimal.curve import Curve
from struthio.attacks.minimal.missing import Missing
from struthio.attacks.minimal.weight import Weight
from struthio.attacks.shrink import inside
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.types import Goal, Gradient, Threat

TIMES = 10  # how often in a round a row is asked whether it still gets better


@dataclass(frozen=True)
class CarliniWagner(Attack):
    """The smallest L2 change: Adam on |z|^2 + c max(kappa - margin, 0), with c searched a row each.

    The input is moved behind a tanh, so that it stays between its limits. As first published a value that lies on a
    limit lies where the tanh is flat and hardly moves; here the tanh reaches a little beyond the limits and is clipped.
    Without limits (box=None) the change is moved itself.

    Args:
        steps: of Adam, in each round.
        rounds: how many values of c are tried.
        c: the first.
        kappa: by how much the wanted score must exceed the others before a row counts as won.
        step: the length of a step of Adam.
        bend: at which share of the tanh's height the limits lie; the paper's is 0.999999.
        patient: whether a row goes on to the end of a round, though its sum falls no more.
        warm: whether rounds go on from the smallest win so far instead of from no change (`carlini_wagner_warm`); a row
            takes all steps then, few are enough, and the first c hardly matters.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Carlini, Wagner, 2017, arXiv 1608.04644"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 10000
    rounds: int = 9
    c: float = 1e-3
    kappa: float = 0.0
    step: float = 0.01
    bend: float = 0.9
    patient: bool = False
    warm: bool = False
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.rounds, "rounds")
        checks.positive(self.c, "c")
        checks.not_negative(self.kappa, "kappa")
        checks.positive(self.step, "step")
        checks.share(self.bend, "bend")
        if self.bend == 1:
            raise checks.UserError("bend is 1, where a tanh never arrives; it must be below 1, such as 0.9.")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all rounds."""
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        if self.warm:
            rounds = WarmRounds(self.steps, self.rounds, self.c, self.kappa, self.step, self.gradient)
            rounds.search(task, Curve.of(task, self.bend), found)
            return found.inside(x, threat)
        weight = Weight.first(self.c, x)
        for _ in range(self.rounds):
            weight.tried(self._round(task, weight.value, found))
        return found.inside(x, threat)

    def _round(self, task: Task, c: Tensor, found: Smallest) -> Tensor:
        """Adam from no change, with a fresh memory; returns which rows were won on the way."""
        won = torch.zeros(len(task), dtype=torch.bool, device=task.x.device)
        curve = Curve.of(task, self.bend)
        w = curve.w(task.x)
        state = {**memory(w), "c": c, "before": torch.full_like(c, torch.inf), "origin": curve.value(w)}
        for step in range(self.steps):
            z = inside(task, curve.value(w) - state["origin"])
            slope, cost, reached = self._look(task, z, state["c"], found)
            won[task.rows] |= reached
            if not self.patient and step % max(1, self.steps // TIMES) == 0:
                stay = (cost <= 0.9999 * state["before"]).nonzero().flatten()
                state["before"] = cost
                if len(stay) < len(task):
                    task, w, slope, state = task[stay], w[stay], slope[stay], narrow(state, stay)
                if not len(task):
                    break
            way, _, state = adam(slope * curve.pace(w), state, step)
            w = curve.within(w - self.step * way)
        return won

    def _look(self, task: Task, z: Tensor, c: Tensor, found: Smallest) -> tuple[Tensor, Tensor, Tensor]:
        """The slope of the weighted sum at z, its value [n], and which rows are won with kappa to spare [n]."""
        seen = Missing.at(task, self.gradient, z, self.kappa)
        found.offer(task.rows, seen.x_adv, task.threat.size(task.x, seen.x_adv), seen.margin, seen.won)
        slope = 2 * z + per_row(c, z) * seen.slope
        return slope, z.flatten(1).square().sum(1) + c * seen.amount, seen.won
