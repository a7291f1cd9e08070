"""NES and SPSA: the slope is estimated from questions in pairs around a point, and followed inside the threat."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.attacks.climb import payable
from struthio.attacks.queries.crowd import ask, at_once, difference
from struthio.attacks.queries.windows import signs
from struthio.attacks.task import Task, narrow
from struthio.losses import CrossEntropy, Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row
from struthio.types import Goal, Loss, State, Threat


@dataclass(frozen=True)
class NES(Attack):
    """Projected gradient ascent along a slope from antithetic Gaussian pairs, as natural evolution strategies find it.

    Every point asked about counts as an attempt, also those beside the path. The paper's momentum and its falling
    step, which only its code has, are left out.

    Args:
        queries: the most questions a row; a step takes 2 * samples + 1.
        samples: pairs for a slope; the paper's population of 50 is 25 of them.
        sigma: how far from the point the questions are, in the units of the input; on the levels of a picture at least
            one level, or all answers are alike.
        step: the length of a step as a share of the radius, .01 of .05 in the paper.
        loss: what has to rise.
    """

    paper: ClassVar[str] = "Ilyas, Engstrom, Athalye, Lin, 2018, arXiv 1804.08598"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    queries: int = 10_000
    samples: int = 25
    sigma: float = 0.001
    step: float = 0.2
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        _check(self)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best point asked about."""
        return follow(self, Task.whole(model, x, goal, threat, generator))

    def start(self, z: Tensor) -> State:
        """Nothing is remembered."""
        return {}

    def way(self, task: Task, z: Tensor) -> Tensor:
        """A Gaussian direction."""
        return task.generator.normal(z.shape[1:], z.dtype)

    def move(self, task: Task, z: Tensor, slope: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """A step of the threat's steepest kind."""
        return z + self.step * per_row(task.threat.reach, z) * task.threat.steepest(task.x, z, slope), state


@dataclass(frozen=True)
class SPSA(Attack):
    """Projected Adam along a slope from pairs of random signs: simultaneous perturbation stochastic approximation.

    Args:
        queries: the most questions a row; a step takes 2 * samples + 1. The paper's is 100 steps of 8,192.
        samples: pairs for a slope.
        sigma: how far from the point each value is moved for a question, in the units of the input.
        step: the length of a step in each value, in the units of the input.
        loss: what has to rise.
    """

    paper: ClassVar[str] = "Uesato, O'Donoghue, van den Oord, Kohli, 2018, arXiv 1802.05666"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 10_000
    samples: int = 64
    sigma: float = 0.01
    step: float = 0.01
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        _check(self)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best point asked about."""
        return follow(self, Task.whole(model, x, goal, threat, generator))

    def start(self, z: Tensor) -> State:
        """The mean slope and the mean square."""
        return {"first": torch.zeros_like(z), "second": torch.zeros_like(z)}

    def way(self, task: Task, z: Tensor) -> Tensor:
        """A direction of random signs."""
        return signs(task.generator, tuple(z.shape[1:]), z.dtype)

    def move(self, task: Task, z: Tensor, slope: Tensor, state: State, step: int) -> tuple[Tensor, State]:
        """A step of Adam (Kingma, Ba, 2015, arXiv 1412.6980) uphill."""
        first = 0.9 * state["first"] + 0.1 * slope
        second = 0.999 * state["second"] + 0.001 * slope.square()
        height = (second / (1 - 0.999 ** (step + 1))).sqrt()
        ahead = z + self.step * first / (1 - 0.9 ** (step + 1)) / (height + 1e-8)
        return ahead, {"first": first, "second": second}


def _check(attack: NES | SPSA) -> None:
    checks.count(attack.queries, "queries")
    checks.count(attack.samples, "samples")
    checks.positive(attack.sigma, "sigma")
    checks.positive(attack.step, "step")


def follow(attack: NES | SPSA, task: Task) -> Tensor:
    """Estimate, step and project as long as there are questions; a row leaves after the step that won it."""
    check_finite(task.threat)
    x, threat, price = task.x, task.threat, 2 * attack.samples + 1
    best, z, state = Best(threat.zero(x)), threat.zero(x), attack.start(threat.zero(x))
    for step in range((attack.queries - 1) // price):
        asking = payable(task.model, price)
        task, z, state = task[asking], z[asking], narrow(state, asking)
        if not len(task):
            break
        slope, won = _estimate(attack, task, best, z)
        task, z, slope, state = task[~won], z[~won], slope[~won], narrow(state, ~won)
        z, state = attack.move(task, z, slope, state, step)
        z = task.threat.project(task.x, z)
    asking = payable(task.model)
    if bool(asking.any()):
        ask(task[asking], attack.loss, best, z[asking][None])
    return threat.apply(x, best.value)


def _estimate(attack: NES | SPSA, task: Task, best: Best, z: Tensor) -> tuple[Tensor, Tensor]:
    """The slope at z, and which rows were won by z or by a point beside it, [n]."""
    _, won = ask(task, attack.loss, best, z[None])
    won, slope = won[0], torch.zeros_like(z)
    pairs = max(1, at_once(task.x) // 2)
    for start in range(0, attack.samples, pairs):
        ways = torch.stack([attack.way(task, z) for _ in range(min(pairs, attack.samples - start))])
        steps = attack.sigma * ways
        scores, wins = ask(task, attack.loss, best, torch.cat([z + steps, z - steps]), inside=False)
        up, down = scores.chunk(2)
        slope += torch.einsum("kn,kn...->n...", difference(up, down) / (2 * attack.sigma), ways)
        won |= wins.any(0)
    return slope / attack.samples, won
