"""Auto-PGD: projected gradient with momentum whose step halves by itself, per row, when progress stalls."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite, check_options
from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.attacks.combine import EachTarget, Repeat
from struthio.attacks.starts import OnSphere, Start
from struthio.attacks.task import Task, narrow, remaining
from struthio.gradients import Autograd
from struthio.losses import DLR, CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row, where_rows
from struthio.types import Goal, Gradient, Loss, State, Threat


@dataclass(frozen=True)
class APGD(Attack):
    """Auto-PGD in Linf, L2 and L1.

    The step begins at twice the radius. At checkpoints, which come at 22 % of the steps and then ever closer, a row
    whose loss rose in fewer than `rho` of the steps, or not at all since the last checkpoint, halves its step and
    goes back to its best point. L1 follows Croce and Hein, 2021, arXiv 2103.01208: sparse steps whose sparsity
    adapts, in balls of 3, 2 and 1 eps.

    Args:
        steps: N, gradient steps over all.
        restarts: how many random starts; later ones see only the rows that still hold.
        loss: what is increased: CrossEntropy(), DLR(), Margin().
        rho: the share of steps that must raise the loss.
        momentum: the share of the new step, against the last one.
        gradient: how the slope is found.
        keep: "first" lets a row leave as soon as it is won; "best" goes on to the highest loss.
        start: where a row begins: OnSphere(), or OutputDiversified(). L1 begins on its own, larger balls.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 2003.01690"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "patch", "spatial")

    steps: int = 100
    restarts: int = 1
    loss: Loss = field(default_factory=CrossEntropy)
    rho: float = 0.75
    momentum: float = 0.75
    gradient: Gradient = field(default_factory=Autograd)
    keep: str = "first"
    start: Start = field(default_factory=OnSphere)

    def __post_init__(self) -> None:
        check_options(self.steps, None, self.keep)
        checks.one_of(self.keep, ("first", "best"), "keep")
        checks.count(self.restarts, "restarts")
        checks.share(self.rho, "rho")
        checks.share(self.momentum, "momentum")
        if not callable(self.start):
            raise checks.UserError(
                f"start is a {type(self.start).__name__}; a way to begin is needed: OnSphere() or OutputDiversified()."
            )

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best point of all restarts."""
        check_finite(threat)
        if self.restarts > 1:
            return Repeat(replace(self, restarts=1), self.restarts).search(model, x, goal, threat, generator)
        task = Task.whole(model, x, goal, threat, generator)
        if getattr(threat, "p", None) == 1:
            from struthio.attacks.auto_l1 import shrinking_balls

            return threat.apply(x, shrinking_balls(self, task))
        return threat.apply(x, self._run(task))

    def _run(self, task: Task) -> Tensor:
        walk = Walk(self, task, self.start(task, self.gradient))
        checkpoints = _checkpoints(self.steps)
        for step in range(self.steps):
            if not walk.look():
                break
            if step in checkpoints:
                walk.state = self._halve(walk.state, checkpoints[step])
            walk.state = self._move(walk.task, walk.state, 1.0 if step == 0 else self.momentum)
        return walk.end()

    def _move(self, task: Task, state: State, fresh: float) -> State:
        threat, z, last = task.threat, state["z"], state["last"]
        way = threat.steepest(task.x, z, state["grad"])
        ahead = task.project(z + per_row(state["step"] * threat.reach, z) * way)
        mixed = task.project(z + fresh * (ahead - z) + (1 - fresh) * (z - last))
        return {**state, "z": mixed, "last": z}

    def _halve(self, state: State, interval: int) -> State:
        oscillates = state["rises"] <= self.rho * interval
        stuck = (state["halved"] < 0.5) & (state["best_then"] >= state["best"])
        halve = oscillates | stuck
        return {
            **state,
            "step": torch.where(halve, state["step"] / 2, state["step"]),
            "z": where_rows(halve, state["best_z"], state["z"]),
            "grad": where_rows(halve, state["best_grad"], state["grad"]),
            "halved": halve.to(state["halved"].dtype),
            "best_then": state["best"],
            "rises": torch.zeros_like(state["rises"]),
        }


@dataclass(frozen=True)
class APGDT(Attack):
    """Targeted Auto-PGD: the targeted DLR loss leads to each of the likeliest wrong classes in turn; any is a success.

    Args:
        steps: N, gradient steps for each target.
        targets: how many wrong classes are tried.
        loss: what is increased.
        gradient: how the slope is found.
        keep: "first" lets a row leave as soon as it is won; "best" goes on to the highest loss.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 2003.01690"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "patch", "spatial")

    steps: int = 100
    targets: int = 9
    loss: Loss = field(default_factory=DLR)
    gradient: Gradient = field(default_factory=Autograd)
    keep: str = "first"

    def __post_init__(self) -> None:
        check_options(self.steps, None, self.keep)
        checks.one_of(self.keep, ("first", "best"), "keep")
        checks.count(self.targets, "targets")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best point over all targets."""
        once = APGD(self.steps, loss=self.loss, gradient=self.gradient, keep=self.keep)
        return EachTarget(once, self.targets).search(model, x, goal, threat, generator)


class Walk:
    """The rows in play and where they are: one `look` at a time, after which rows already won may leave.

    The state holds, a row each: z, the last z, the slope, the loss, its best value with the point and slope there, the
    step as a share of the reach, and how often the loss rose since the last checkpoint.
    """

    def __init__(self, attack: APGD, task: Task, z: Tensor) -> None:
        self.attack, self.task, self.whole = attack, task, task
        self.found = Best(z)
        low = torch.full((len(task),), -torch.inf, dtype=z.dtype, device=z.device)
        self.state: State = {
            "z": z, "last": z, "grad": torch.zeros_like(z), "loss": -low, "rises": torch.zeros_like(low),
            "best": low, "best_z": z, "best_grad": torch.zeros_like(z), "best_then": low,
            "step": torch.full_like(low, 2.0), "halved": torch.ones_like(low),
        }  # fmt: skip

    def look(self) -> bool:
        """Take the slope where each row is, keep what is better, let won rows leave; False when none is left."""
        state, attack, task = self.state, self.attack, self.task
        grad, outputs = task.slope(attack.gradient, attack.loss, state["z"])
        loss, won = task.goal.score(attack.loss, outputs), task.goal.success(outputs)
        self.found.offer(task.rows, state["z"], loss, won)
        better = loss > state["best"]
        self.state = {
            **state,
            "grad": grad,
            "loss": loss,
            "rises": state["rises"] + (loss > state["loss"]),
            "best": torch.where(better, loss, state["best"]),
            "best_z": where_rows(better, state["z"], state["best_z"]),
            "best_grad": where_rows(better, grad, state["best_grad"]),
        }
        if attack.keep == "first" and bool(won.any()):
            stay = remaining(won)
            self.task, self.state = task[stay], narrow(self.state, stay)
        return len(self.task) > 0

    def end(self) -> Tensor:
        """Judge the last points too, and give the best z of every row."""
        if len(self.task):
            z = self.state["z"]
            self.found.offer(self.task.rows, z, *self.task.judge(self.attack.loss, z))
        return self.found.value


def _checkpoints(steps: int) -> dict[int, int]:
    """The steps before which rows are examined, each with its distance from the one before.

    The first comes after 22 % of the steps; every next interval is 3 % of them shorter, down to 6 %.
    """
    interval, shorter, least = max(int(0.22 * steps), 1), max(int(0.03 * steps), 1), max(int(0.06 * steps), 1)
    at, found = interval, {}
    while at < steps:
        found[at] = interval
        interval = max(interval - shorter, least)
        at += interval
    return found
