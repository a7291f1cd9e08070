"""The loop that follows a slope inside a threat: FGSM, BIM, PGD, momentum and every transfer attack."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.best import Best
from struthio.attacks.rules import Plain
from struthio.attacks.task import Task, narrow, remaining
from struthio.checks import UserError
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.types import Goal, Gradient, Loss, Rule, Threat

KEEP = ("first", "best", "last")


def ascend(
    model: Metered,
    x: Tensor,
    goal: Goal,
    threat: Threat,
    generator: RowGenerator,
    *,
    steps: int,
    step: float | Tensor,
    loss: Loss,
    start: Tensor | None = None,
    gradient: Gradient = Autograd(),  # noqa: B008 - frozen
    rule: Rule = Plain(),  # noqa: B008 - frozen
    keep: str = "first",
) -> Tensor:
    """Take `steps` steps of `step` times the threat's reach along the slope of the goal's score.

    Args:
        step: one number, or one a row [n].
        start: where to begin, [n, ...] as the threat's z; None begins at no change.
        keep: "first" returns the first iterate that wins a row, which then costs nothing more (the best of those that
            hold); "best" takes all steps and returns the iterate of the highest score; "last" returns the last one.

    Returns:
        The inputs found, [n, ...].
    """
    check_finite(threat)
    task = Task.whole(model, x, goal, threat, generator)
    still = threat.zero(x)
    best = Best(still)
    z = still if start is None else task.project(start)
    state = {"length": torch.broadcast_to(_number(threat.reach, x) * _number(step, x), (len(x),)), **rule.start(z)}
    for _ in range(steps):
        length = per_row(state["length"], z)
        grad, outputs = task.slope(gradient, loss, rule.where(z, state, length))
        if keep != "last":
            won = task.goal.success(outputs)
            best.offer(task.rows, z, task.goal.score(loss, outputs), won)
            if keep == "first" and bool(won.any()):
                stay = remaining(won)
                task, z, grad, state = task[stay], z[stay], grad[stay], narrow(state, stay)
                length = per_row(state["length"], z)
                if not len(task):
                    break
        way, remembered = rule.direction(grad, _nearby(task, gradient, loss, z), state)
        state = {**state, **remembered}
        z = task.project(z + length * task.threat.steepest(task.x, z, way))
    if keep == "last":
        return threat.apply(x, z)
    if len(task):
        best.offer(task.rows, z, *task.judge(loss, z))
    return threat.apply(x, best.value)


def _number(value: float | Tensor, x: Tensor) -> Tensor:
    return torch.as_tensor(value, dtype=x.dtype, device=x.device)


def _nearby(task: Task, gradient: Gradient, loss: Loss, z: Tensor) -> Callable[[float], Tensor]:
    """The slope at a random point of the cube around z whose half side is a share of eps."""

    def at(share: float) -> Tensor:
        noise = 2 * task.generator.uniform(z.shape[1:], z.dtype) - 1
        return task.slope(gradient, loss, z + share * per_row(task.threat.eps, z) * noise)[0]

    return at


def check_finite(threat: Threat) -> None:
    """Refuse an infinite radius: an attack that fills the ball has to know how large it is."""
    if not bool(torch.as_tensor(threat.eps).isfinite().all()):
        raise UserError(
            "the radius is infinite, but this attack fills a ball of given size. Name one, such as Linf(8/255), or "
            "look for the smallest change with SmallestRadius(attack)."
        )


def check_options(steps: int, step: float | None, keep: str) -> None:
    """Refuse options of the loop that cannot be meant."""
    checks.count(steps, "steps")
    if step is not None:
        checks.positive(step, "step")
    checks.one_of(keep, KEEP, "keep")
