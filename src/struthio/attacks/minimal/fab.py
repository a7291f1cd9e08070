"""Fast adaptive boundary: steps to the nearest wall that are drawn toward x, and a step back after each win."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.walls import approach, home, look, nearest, offer, rivals, room
from struthio.attacks.shrink import widest
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.threats.projections import onto_plane
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class FAB(Attack):
    """The smallest change in Linf, L2 or L1, without a step size: each step goes to the nearest wall.

    A wall is taken for a plane. A step is the mean of the ways there from where the row is and from x, each the
    shortest within the limits and lengthened by `eta`. Toward a target there is one wall, that to the strongest other
    class.

    Args:
        steps: N, how many.
        restarts: how many runs; the first begins at x, later ones at random in half the radius of the best so far.
        alpha: the most weight that the way from x gets.
        eta: by how much each way is lengthened, to cross the wall.
        beta: which share of the change is kept after a win.
        classes: how many of the likeliest classes are looked at, the one to get away from among them (paper: all).
        final: how many points are tried in the end on the line from x to the best.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 1907.02044"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    restarts: int = 1
    alpha: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    classes: int = 10
    final: int = 3

    def __post_init__(self) -> None:
        _check(self)
        checks.count(self.classes, "classes", 2)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all runs."""
        runs = [(turn, None) for turn in range(self.restarts)]
        return _search(self, runs, Task.whole(model, x, goal, threat, generator))


@dataclass(frozen=True)
class FABT(Attack):
    """Targeted FAB: FAB with one wall alone, for each of the likeliest wrong classes; any wrong class is a win.

    Args:
        steps: N, how many for each class.
        targets: how many of the wrong classes are tried.
        restarts: how many runs for each class, as in FAB.
        alpha: the most weight that the way from x gets.
        eta: by how much each way is lengthened, to cross the wall.
        beta: which share of the change is kept after a win.
        final: how many points are tried in the end on the line from x to the best.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 1907.02044"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    targets: int = 9
    restarts: int = 1
    alpha: float = 0.1
    eta: float = 1.05
    beta: float = 0.9
    final: int = 3

    def __post_init__(self) -> None:
        _check(self)
        checks.count(self.targets, "targets")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all classes. Raises UserError where the goal is not to get away from one."""
        labels = home(goal)
        if labels is None:
            raise UserError(
                f"FABT leads away from one class; its goal must be Untargeted or Drift, not {type(goal).__name__}. "
                "For a target take FAB."
            )
        runs = [(turn, rank) for turn in range(self.restarts) for rank in range(self.targets)]
        return _search(self, runs, Task.whole(model, x, goal, threat, generator))


def _check(attack: FAB | FABT) -> None:
    checks.count(attack.steps, "steps")
    checks.count(attack.restarts, "restarts")
    checks.share(attack.alpha, "alpha")
    if attack.alpha == 1:
        raise UserError("alpha is 1, which may forget where the row is; it must be below 1 (paper: 0.1).")
    checks.positive(attack.eta, "eta")
    checks.share(attack.beta, "beta")
    checks.count(attack.final, "final", 0)


def _search(attack: FAB | FABT, runs: Sequence[tuple[int, int | None]], task: Task) -> Tensor:
    """All runs one after another, each for (turn, rank of the class led to or None), on the rows not won as given."""
    x, threat, found = task.x, task.threat, Smallest(task.x)
    with torch.no_grad():
        outputs = task.model(task.see(threat.zero(x)))
    stay = remaining(offer(found, task, threat.zero(x), outputs))
    task, outputs = task[stay], outputs[stay]
    classes = rivals(task.goal, outputs, getattr(attack, "classes", outputs.shape[1]) - 1) if len(task) else None
    for turn, rank in runs if len(task) else ():
        if classes is not None and rank is not None and rank >= classes.shape[1]:
            continue
        led_to = classes if classes is None or rank is None else classes[:, rank : rank + 1]
        _run(attack, task, found, _start(task, found, turn), led_to)
    approach(task, found, attack.final)
    return found.inside(x, threat)


def _start(task: Task, found: Smallest, turn: int) -> Tensor:
    """No change at first; later a random one within half of the best size so far, or of the radius."""
    if turn == 0:
        return task.threat.zero(task.x)
    reach = torch.minimum(found.size[task.rows].to(task.x.dtype), widest(task))
    half = torch.where(reach.isfinite(), reach, 1.0) / 2
    return task.threat.at(half).sample(task.x, task.generator.fold(turn))


def _run(attack: FAB | FABT, task: Task, found: Smallest, z: Tensor, classes: Tensor | None) -> None:
    """The walk of one start: to the wall and past it, then back toward x where that won."""
    low, high = room(task.threat, task.x)
    p = getattr(task.threat, "p", 2)
    for _ in range(attack.steps):
        walls = look(task, z, classes)
        offer(found, task, z, walls.outputs)
        slope, need = nearest(walls, p)
        here = onto_plane(slope, need, (low - z, high - z), p)
        there = onto_plane(slope, need + (slope * z).flatten(1).sum(1), (low, high), p)
        near, far = norm(here, p), norm(there, p)
        alpha = per_row((near / (near + far).clamp(min=1e-30)).clamp(max=attack.alpha), z)
        z = ((1 - alpha) * (z + attack.eta * here) + alpha * attack.eta * there).clamp(low, high)
        with torch.no_grad():
            won = offer(found, task, z, task.model(task.see(z)))
        z = where_rows(won, attack.beta * z, z)
