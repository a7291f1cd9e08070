"""Sigma-zero: a smooth stand-in for the count of changed values, and a threshold below which changes are undone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.places import by_place, spread
from struthio.attacks.shrink import Seen, cosine, inside, shrink
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Gradient, Loss, State, Threat


@dataclass(frozen=True)
class SigmaZero(Attack):
    """The fewest changed values: Adam on the margin plus the mean of z^2 / (z^2 + sigma), small values cut off.

    Args:
        steps: N, how many.
        step: eta_0, the length of the first step in each value; it falls to a tenth along a cosine.
        sigma: how sharply the stand-in counts.
        threshold: tau_0, the first size below which a change is undone.
        adapt: t, by which share of the step the threshold rises after a win and falls after none.
        loss: what is increased until a row is won.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Cina, Villani, Pintor, Schonherr, Biggio, Pelillo, 2024, arXiv 2402.01879"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    steps: int = 1000
    step: float = 1.0
    sigma: float = 1e-3
    threshold: float = 0.3
    adapt: float = 0.01
    loss: Loss = field(default_factory=Margin)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.step, "step")
        checks.positive(self.sigma, "sigma")
        checks.not_negative(self.threshold, "threshold")
        checks.not_negative(self.adapt, "adapt")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The win of fewest changes."""
        return shrink(
            model, x, goal, threat, generator, steps=self.steps, rule=self, loss=self.loss, gradient=self.gradient
        )

    def start(self, task: Task, z: Tensor) -> State:
        """No momentum, and the first threshold."""
        return {**memory(z), "threshold": torch.full_like(task.x.flatten(1)[:, 0], self.threshold)}

    def move(self, task: Task, z: Tensor, seen: Seen, state: State, step: int) -> tuple[Tensor, State]:
        """A step of Adam between the limits; then what is smaller than the threshold is undone."""
        squares = by_place(task.threat, z.square()).sum(1)
        toll = self.sigma / (squares + self.sigma).square() / squares.shape[1]
        downhill = per_row((seen.score < 0).to(z.dtype), z) * seen.slope - 2 * z * spread(toll, z)
        way, _, state = adam(downhill / per_row(norm(downhill, torch.inf).clamp(min=1e-12), z), state, step)
        length = cosine(self.step, self.step / 10, step, self.steps)
        z = inside(task, z + length * way)
        length = cosine(self.step, self.step / 10, step + 1, self.steps)
        threshold = state["threshold"] + torch.where(seen.won, self.adapt * length, -self.adapt * length)
        threshold = threshold.clamp(0, 1)
        most = by_place(task.threat, z.abs()).amax(1)
        return z * spread((most >= threshold[:, None]).to(z.dtype), z), {**state, "threshold": threshold}
