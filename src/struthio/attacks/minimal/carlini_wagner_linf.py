"""Carlini and Wagner's Linf attack: only what exceeds a height is charged, and the height falls after each win."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.minimal.carlini_wagner import TIMES
from struthio.attacks.minimal.curve import Curve
from struthio.attacks.minimal.missing import Missing
from struthio.attacks.shrink import inside, widest
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow, remaining
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.types import Goal, Gradient, State, Threat


@dataclass(frozen=True)
class CarliniWagnerLinf(Attack):
    """The smallest Linf change: Adam on c max(kappa - margin, 0) + sum of max(|z| - tau, 0), with tau and c a row each.

    A row that wins within tau has tau lowered to `shrink` times its height and goes on from where it is; one that does
    not has c doubled, until c exceeds `largest`. The input is moved behind a tanh, as in `CarliniWagner`.

    Args:
        steps: of Adam, at the most, for each pair of tau and c; a win within tau ends them.
        c: the first weight of the margin.
        largest: the last weight.
        shrink: the share of the height just won that is tried next.
        finest: the height at which a row is content, as a share of the span of the limits.
        kappa: by how much the wanted score must exceed the others before a row counts as won.
        step: the length of a step of Adam.
        bend: at which share of the tanh's height the limits lie; the paper's is 0.999999.
        patient: whether a row goes on to the end of its steps, though its sum falls no more.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Carlini, Wagner, 2017, arXiv 1608.04644"
    norms: ClassVar[tuple[str, ...]] = ("linf",)

    steps: int = 1000
    c: float = 1e-5
    largest: float = 20.0
    shrink: float = 0.9
    finest: float = 1 / 256
    kappa: float = 0.0
    step: float = 0.005
    bend: float = 0.9
    patient: bool = False
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.c, "c")
        checks.positive(self.largest, "largest")
        checks.share(self.shrink, "shrink")
        checks.positive(self.finest, "finest")
        checks.not_negative(self.kappa, "kappa")
        checks.positive(self.step, "step")
        checks.share(self.bend, "bend")
        for name in ("shrink", "bend"):
            if getattr(self, name) == 1:
                raise checks.UserError(f"{name} is 1, with which nothing ever ends; it must be below 1, such as 0.9.")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The lowest win of all."""
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        curve = Curve.of(task, self.bend)
        w = curve.w(x)
        origin, tau = curve.value(w), widest(task)
        c = torch.full_like(tau, self.c)
        finest = self.finest * 2 * torch.as_tensor(curve.half, dtype=x.dtype, device=x.device).amax()
        while len(task):
            state = {"tau": tau[task.rows], "c": c[task.rows], "origin": origin[task.rows]}
            won = self._round(task, curve, w, state, found)
            height = torch.minimum(tau, found.size.to(tau.dtype))
            tau = torch.where(won, self.shrink * height, tau)
            c = torch.where(won, c, torch.where(torch.zeros_like(won).index_fill(0, task.rows, True), 2 * c, c))
            stay = remaining((c > self.largest) | (tau <= finest))
            task = Task.whole(model, x, goal, threat, generator)[stay]
        return found.inside(x, threat)

    def _round(self, task: Task, curve: Curve, w: Tensor, state: State, found: Smallest) -> Tensor:
        """Adam on from w [whole batch, changed in place], with a fresh memory; returns who won within tau."""
        won = torch.zeros(len(w), dtype=torch.bool, device=w.device)
        at = w[task.rows]
        state = {**state, **memory(at), "before": torch.full_like(state["c"], torch.inf)}
        for step in range(self.steps):
            z = inside(task, curve.value(at) - state["origin"])
            slope, cost, reached = self._look(task, z, state, found)
            won[task.rows] |= reached
            w[task.rows] = at
            done = reached
            if not self.patient and step % max(1, self.steps // TIMES) == 0:
                done = done | ~(cost <= 0.9999 * state["before"])
                state["before"] = cost
            stay = remaining(done)
            if not len(stay):
                break
            if len(stay) < len(task):
                task, at, slope, state = task[stay], at[stay], slope[stay], narrow(state, stay)
            way, _, state = adam(slope * curve.pace(at), state, step)
            at = curve.within(at - self.step * way)
        return won

    def _look(self, task: Task, z: Tensor, state: State, found: Smallest) -> tuple[Tensor, Tensor, Tensor]:
        """The slope of the weighted sum at z, its value [n], and which rows are won within tau [n]."""
        seen = Missing.at(task, self.gradient, z, self.kappa)
        size = task.threat.size(task.x, seen.x_adv)
        found.offer(task.rows, seen.x_adv, size, seen.margin, seen.won)
        over = (z.abs() - per_row(state["tau"], z)).clamp(min=0)
        slope = z.sign() * (over > 0) + per_row(state["c"], z) * seen.slope
        return slope, over.flatten(1).sum(1) + state["c"] * seen.amount, seen.won & (size <= state["tau"])
