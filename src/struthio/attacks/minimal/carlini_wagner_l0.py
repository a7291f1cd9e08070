"""Carlini and Wagner's L0 attack: the L2 attack again and again, without the values that did least."""

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
from struthio.attacks.minimal.walls import room
from struthio.attacks.places import by_place, spread
from struthio.attacks.shrink import inside
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow, remaining
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row, where_rows
from struthio.types import Goal, Gradient, State, Threat

CHANGED = 1e-4  # a smaller change counts as none when it is settled how many values are frozen
USEFUL = 0.01  # beyond which use no further value is frozen at once


@dataclass(frozen=True)
class CarliniWagnerL0(Attack):
    """Few changed values: of those changed by the L2 attack the least useful are frozen, and it is redone.

    How useful a value is, is its change times the slope of the margin there. Where the threat counts pixels, all
    channels are frozen together. A row that does not win has c doubled, until c exceeds `largest`: then the last win
    is its answer. Each search begins at the last win, as in the paper, and ends with the first of its own.

    Args:
        steps: of Adam, at the most, for each c and each set of free values.
        rounds: how many such searches, at the most; None for as many as it takes.
        c: the first weight of the margin.
        largest: the last.
        shrink: how many values are frozen at once, at the most: this share of the root of those that are changed.
        kappa: by how much the wanted score must exceed the others before a row counts as won.
        step: the length of a step of Adam.
        bend: at which share of the tanh's height the limits lie, as in `CarliniWagner`.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Carlini, Wagner, 2017, arXiv 1608.04644"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    steps: int = 1000
    rounds: int | None = None
    c: float = 1e-3
    largest: float = 2e6
    shrink: float = 0.3
    kappa: float = 0.0
    step: float = 0.01
    bend: float = 0.9
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(1 if self.rounds is None else self.rounds, "rounds")
        checks.positive(self.c, "c")
        checks.positive(self.largest, "largest")
        checks.positive(self.shrink, "shrink")
        checks.not_negative(self.kappa, "kappa")
        checks.positive(self.step, "step")
        checks.share(self.bend, "bend")
        if self.bend == 1:
            raise checks.UserError("bend is 1, where a tanh never arrives; it must be below 1, such as 0.9.")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The win of fewest changes."""
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        curve, state = Curve.of(task, self.bend), self._begin(task)
        while len(task):
            state = self._look(task, curve, state, found)
            turns = torch.inf if self.rounds is None else self.rounds
            done = (state["c"] > self.largest) | ~state["free"].any(1) | (state["turn"] >= turns)
            stay = remaining(done | (found.size[task.rows] == 0))
            if len(stay) < len(task):
                task, state = task[stay], narrow(state, stay)
        return found.inside(x, threat)

    def _begin(self, task: Task) -> State:
        """No change, everything free that may change, and no search behind any row."""
        low, high = room(task.threat, task.x)
        w, zero = Curve.of(task, self.bend).w(task.x), torch.zeros_like(task.rows)
        free = by_place(task.threat, high - low).amax(1) > 0
        c = torch.full_like(task.x.flatten(1)[:, 0], self.c)
        return {
            **memory(w), "w": w, "start": w, "clean": w, "free": free,
            "c": c, "before": torch.full_like(c, torch.inf), "age": zero, "turn": zero,
        }  # fmt: skip

    def _look(self, task: Task, curve: Curve, state: State, found: Smallest) -> State:
        """One look and one step of Adam; a row that has won, or has stopped getting better, begins its next search."""
        w, age, open_to = state["w"], state["age"], spread(state["free"].to(task.x.dtype), task.x)
        z = inside(task, (curve.value(w) - curve.value(state["clean"])) * open_to)
        seen = Missing.at(task, self.gradient, z, self.kappa)
        found.offer(task.rows, seen.x_adv, task.threat.size(task.x, seen.x_adv), seen.margin, seen.won)
        cost = z.flatten(1).square().sum(1) + state["c"] * seen.amount
        asked = age % max(1, self.steps // TIMES) == 0
        lost = ~seen.won & ((asked & ~(cost <= 0.9999 * state["before"])) | (age + 1 >= self.steps))
        slope = (2 * z + per_row(state["c"], z) * seen.slope) * open_to * curve.pace(w)
        way, _, after = adam(slope, state, age)
        after["start"] = where_rows(seen.won, w, state["start"])
        after["free"] = where_rows(seen.won, self._fewer(task, z, seen, state["free"]), state["free"])
        after["c"] = torch.where(lost, 2 * state["c"], state["c"])
        anew = seen.won | lost
        after["w"] = where_rows(anew, after["start"], curve.within(w - self.step * way))
        for name in ("mean", "square"):
            after[name] = where_rows(anew, torch.zeros_like(w), after[name])
        after["before"] = torch.where(anew, torch.inf, torch.where(asked, cost, state["before"]))
        return {**after, "age": torch.where(anew, 0, age + 1), "turn": state["turn"] + anew}

    def _fewer(self, task: Task, z: Tensor, seen: Missing, free: Tensor) -> Tensor:
        """The free places [n, places] less those of least use: some at once while they are of little, at least one."""
        change = by_place(task.threat, z).abs().sum(1)
        use = change * by_place(task.threat, seen.uphill).abs().sum(1)
        use = use.masked_fill(~free, torch.inf)
        most = (self.shrink * (change > CHANGED).sum(1).sqrt()).ceil().clamp(min=1)
        count = torch.minimum(most, 1 + (use <= USEFUL).sum(1))
        return free & (use.argsort(dim=1, stable=True).argsort(dim=1) >= count[:, None])
