"""Fewer changes, from a win: one after another is undone, and the others make up for it where they can."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.attacks.places import by_place, spread
from struthio.attacks.shrink import inside
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.rows import norm, per_row, where_rows
from struthio.types import State

PATIENCE = 5  # in how many steps the others may make up for a change that is undone
PACE = 0.3  # how far a value moves in one of them, as a share of the largest change


def undo(task: Task, start: Tensor, steps: int) -> Tensor:
    """What attacks in L0 leave too much, [n, ...]: of a win's changes the one of least use is undone, then the next.

    How useful a change is, is its size times the slope of the margin there. While a row is lost, the changes that are
    left go up that slope, which costs nothing in L0. Where this wins, the fewer changes are the new win; where it does
    not in a few steps, the change is needed.

    Args:
        start: inputs, [n, ...].
        steps: how many forwards and backwards a row may have.
    """
    found = Smallest(start)
    state = _begin(task, start - task.x)
    for _ in range(steps):
        state = _look(task, state, found)
    return found.value


def _begin(task: Task, z: Tensor) -> State:
    """The changes, none of them tried, and none undone."""
    kept = by_place(task.threat, z.abs()).amax(1) > 0
    none, age = torch.zeros_like(kept), torch.zeros_like(task.rows)
    return {
        "z": z, "kept": kept, "win": z, "held": kept, "use": 1.0 * kept, "needed": none,
        "last": age, "age": age, "pace": PACE * norm(z, torch.inf),
    }  # fmt: skip


def _look(task: Task, state: State, found: Smallest) -> State:
    """One look; a row that has won, or has had its time, undoes the next change of its last win."""
    z, kept, age = state["z"], state["kept"], state["age"]
    slope, outputs = task.slope(Autograd(), Margin(), z)
    slope, x_adv, won = slope.nan_to_num(0.0, 0.0, 0.0), task.see(z).detach(), task.goal.success(outputs)
    score = task.goal.score(Margin(), outputs)
    found.offer(task.rows, x_adv, task.threat.size(task.x, x_adv), score, won)
    use = by_place(task.threat, z * slope).sum(1).abs()
    win, held = where_rows(won, z, state["win"]), where_rows(won, kept, state["held"])
    use = where_rows(won, use, state["use"])
    late, places = ~won & (age >= PATIENCE), torch.arange(kept.shape[1], device=z.device)
    needed = state["needed"] | (late[:, None] & (places == state["last"][:, None]))
    open_to = held & ~needed
    next_one = use.masked_fill(~open_to, torch.inf).argmin(1)
    anew = (won | late) & open_to.any(1)
    fewer = held.scatter(1, next_one[:, None], False)
    kept = where_rows(anew, fewer, kept)
    ahead = where_rows(anew, win, z + per_row(state["pace"], z) * slope.sign())
    z = inside(task, ahead * spread(kept.to(z.dtype), z))
    return {
        **state, "z": z, "kept": kept, "win": win, "held": held, "use": use, "needed": needed,
        "last": torch.where(anew, next_one, state["last"]), "age": torch.where(anew, 0, age + 1),
    }  # fmt: skip
