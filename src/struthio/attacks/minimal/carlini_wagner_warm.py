"""Carlini and Wagner's sum with rounds that go on: each begins at the smallest win so far, c from the slope there.

As published every round begins at no change and Adam walks a hundredth of the tanh a step, so that rounds of some dozen
steps end before they arrive, and a c that is far off is not found either. Here a row that is not won yet goes on, with
ten times the c wherever a tenth of a round brought it hardly nearer. Where it wins, the c that would hold it there is
known to first order: the slope of |z|^2 is 2 z, that of the margin u, and they are in balance at c = 2 z u / u u.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.minimal.curve import Curve
from struthio.attacks.minimal.missing import Missing
from struthio.attacks.shrink import inside
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.rows import per_row, where_rows
from struthio.types import Gradient, State

TENTH = 10  # how often in a round a row that is not won is asked whether it comes nearer
NEARER = 0.98  # the share of what was missing that may at most be missing then
LEAST, MOST = 1e-10, 1e10  # of c


@dataclass(frozen=True)
class WarmRounds:
    """The search of `CarliniWagner` with `warm`, whose options these are."""

    steps: int
    rounds: int
    c: float
    kappa: float
    step: float
    gradient: Gradient

    def search(self, task: Task, curve: Curve, found: Smallest) -> None:
        """Offers all that wins; every row is looked at steps times rounds."""
        state = self._begin(task, curve)
        for _ in range(self.steps * self.rounds):
            state = self._look(task, curve, state, found)

    def _begin(self, task: Task, curve: Curve) -> State:
        """No change, and nothing known of c."""
        w, age = curve.w(task.x), torch.zeros_like(task.rows)
        c = torch.full_like(task.x.flatten(1)[:, 0], self.c)
        return {
            **memory(w), "w": w, "origin": curve.value(w), "age": age, "latest": age, "had": age > 0,
            "c": c, "holds": c, "low": 0 * c, "high": c + torch.inf, "missing": c + torch.inf,
        }  # fmt: skip

    def _look(self, task: Task, curve: Curve, state: State, found: Smallest) -> State:
        """One look and one step of Adam; a row at its first win, or at the end of a round, begins at its best win."""
        z = inside(task, curve.value(state["w"]) - state["origin"])
        seen = Missing.at(task, self.gradient, z, self.kappa)
        better = found.offer(task.rows, seen.x_adv, task.threat.size(task.x, seen.x_adv), seen.margin, seen.won)
        state["holds"] = torch.where(better & seen.won, _balance(z, seen.uphill), state["holds"])
        slope = (2 * z + per_row(state["c"], z) * seen.slope) * curve.pace(state["w"])
        way, _, after = adam(slope, state, state["age"])
        w = curve.within(state["w"] - self.step * way)
        anew, after = self._weigh(seen, after)
        after["w"] = where_rows(anew, curve.w(found.value), w)
        for name in ("mean", "square"):
            after[name] = where_rows(anew, torch.zeros_like(w), after[name])
        return after

    def _weigh(self, seen: Missing, state: State) -> tuple[Tensor, State]:
        """Which rows begin anew, and the next c: twice or half as much, halfway in logarithms once it is bracketed.

        A round was won where it still won in its second half: its start is a win, whatever c.
        """
        age, c, amount = state["age"], state["c"], seen.amount.to(state["c"].dtype)
        first, end = seen.won & ~state["had"], state["had"] & (age + 1 >= self.steps)
        latest = torch.where(seen.won, age, state["latest"])
        asked = ~state["had"] & ~seen.won & (age % max(1, self.steps // TENTH) == 0)
        stuck = asked & (amount > NEARER * state["missing"])
        high = torch.where(end & (2 * latest >= self.steps), torch.minimum(state["high"], c), state["high"])
        low = torch.where(end & (2 * latest < self.steps), torch.maximum(state["low"], c), state["low"])
        halfway = torch.where(high.isinf(), 2 * c, torch.where(low == 0, c / 2, (low * high).sqrt()))
        c = torch.where(stuck, (10 * c).clamp(max=MOST), torch.where(end, halfway, c))
        anew = first | end
        return anew, {
            **state,
            "c": torch.where(first, state["holds"], c),
            "low": low,
            "high": high,
            "age": torch.where(anew, 0, age + 1),
            "latest": torch.where(anew, 0, latest),
            "had": state["had"] | first,
            "missing": torch.where(asked, torch.minimum(state["missing"], amount), state["missing"]),
        }


def _balance(z: Tensor, uphill: Tensor) -> Tensor:
    """The c at which length and margin pull equally hard along the slope of the margin, [n]."""
    z, uphill = z.flatten(1), uphill.flatten(1)
    return (2 * (z * uphill).sum(1) / uphill.square().sum(1)).nan_to_num(LEAST).clamp(LEAST, MOST)
