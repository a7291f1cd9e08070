"""Primal-dual descent: the change and the price of its size move in turn, until they meet on the boundary."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.minimal.proximal import proximal
from struthio.attacks.shrink import Seen, inside, norm_of, shrink
from struthio.attacks.task import Task
from struthio.attacks.walk import span
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Gradient, Loss, State, Threat

LEAST = math.log(1e-6)  # of the ratio between the two weights, either way


@dataclass(frozen=True)
class PDGD(Attack):
    """The smallest L2 change by primal-dual gradient descent: Adam on the length and the margin, weighed against each
    other by dual variables that follow the sign of the margin.

    Args:
        steps: how many.
        step: the length of the first primal step in each value; it decays exponentially to a hundredth.
        ratio: the first ratio between the weights of the length and of the margin.
        dual_step: the first step of the dual variable; it falls to a tenth along a line.
        smooth: the share of the old weights kept in their running mean.
        noise: how far the way begins from x to uniform noise between the limits, as a share; 0, as in the paper, at x.
            Several ways from other noise find what one from x does not where slopes near x mislead.
        loss: what is increased; 0 where a row is on the boundary.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Matyasko, Chau, 2021, arXiv 2106.01538"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    steps: int = 1000
    step: float = 0.1
    ratio: float = 0.01
    dual_step: float = 0.1
    smooth: float = 0.9
    noise: float = 0.0
    loss: Loss = field(default_factory=Margin)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.step, "step")
        checks.share(self.ratio, "ratio")
        checks.positive(self.dual_step, "dual_step")
        checks.share(self.smooth, "smooth")
        checks.gate(self.noise, "noise")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all steps."""
        begin = self._begin(x, threat, generator) if self.noise else None
        return shrink(
            model, x, goal, threat, generator,
            steps=self.steps, rule=self, loss=self.loss, gradient=self.gradient, start=begin,
        )  # fmt: skip

    def _begin(self, x: Tensor, threat: Threat, generator: RowGenerator) -> Tensor:
        """The change that leads part of the way to noise."""
        low, high = span(threat, x)
        noise = low + generator.uniform(x.shape[1:], x.dtype) * (high - low)
        return threat.at(math.inf).project(x, self.noise * (noise - x))

    def start(self, task: Task, z: Tensor) -> State:
        """No momentum, and the first weights."""
        dual = torch.full_like(z.flatten(1)[:, 0], -math.log(self.ratio))
        return {**memory(z), "dual": dual, "weight": dual.sigmoid()}

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """A step down the weighed sum of length and margin, and one of the weights."""
        length = z / per_row(norm(z, 2).clamp(min=1e-12), z)
        weight = per_row(state["weight"], z)
        way, _, state = adam((1 - weight) * length - weight * steepness(seen, z), state, step)
        z = inside(task, z - per_row(self.primal(task, way, step), z) * way)
        return z, self.weigh(seen, state, step)

    def primal(self, task: Task, way: Tensor, step: int) -> Tensor:
        """How far to go the primal way, [n]: ever less, and no further than a radius, if there is one (but a count)."""
        longest = self.step * 0.01 ** (step / self.steps)
        if norm_of(task) == 0:
            return torch.full_like(way.flatten(1)[:, 0], longest)
        eps = torch.as_tensor(task.threat.eps, dtype=way.dtype, device=way.device)
        return (eps / norm(way, norm_of(task)).clamp(min=1e-12)).clamp(max=longest)

    def weigh(self, seen: Seen, state: State, step: int) -> State:
        """Rows that are not won get a heavier margin, the others a heavier size."""
        length = self.dual_step * (1 - 0.9 * step / max(self.steps - 1, 1))
        dual = (state["dual"] + torch.where(seen.won, -length, length)).clamp(LEAST, -LEAST)
        return {**state, "dual": dual, "weight": torch.lerp(state["weight"], dual.sigmoid(), 1 - self.smooth)}


@dataclass(frozen=True)
class PDPGD(PDGD):
    """The smallest change in L0, L1, L2 or Linf by primal-dual proximal descent: the margin by Adam, the size by its
    proximal operator.

    Args:
        inner: how many proximal steps follow each step of Adam, whose metric they take into account.
    """

    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    inner: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count(self.inner, "inner")

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """A step down the margin, the proximal steps of the size, and one of the weights."""
        way, scale, state = adam(-steepness(seen, z), state, step)
        length = self.primal(task, way, step)
        ahead = inside(task, z - per_row(length, z) * way)
        most = scale.flatten(1).amax(1)
        price = (1 / state["weight"] - 1) * length / most
        metric = scale / per_row(most, z)
        z = ahead
        for _ in range(self.inner):
            z = inside(task, proximal(task.threat, z - metric * (z - ahead), price))
        return z, self.weigh(seen, state, step)


def steepness(seen: Seen, z: Tensor) -> Tensor:
    """The slope of -softplus(-score), which flattens out once a row is won."""
    return seen.slope * per_row(torch.sigmoid(-seen.score), z)
