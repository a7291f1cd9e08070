"""Where a search inside a ball begins: anywhere on its sphere, or where the outputs are spread out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.task import Task
from struthio.rows import finite, norm, per_row
from struthio.types import Gradient


class Start(Protocol):
    """Gives the z with which each row begins."""

    def __call__(self, task: Task, gradient: Gradient) -> Tensor:
        """The first z inside the threat, [n, ...]; `gradient` is how the attack finds slopes."""
        ...


@dataclass(frozen=True)
class OnSphere:
    """A random change scaled up to the radius, as Auto-PGD begins (Croce, Hein, 2020, arXiv 2003.01690)."""

    def __call__(self, task: Task, gradient: Gradient) -> Tensor:
        """A random point of the sphere, within the limits of the input."""
        z = task.threat.sample(task.x, task.generator)
        p = getattr(task.threat, "p", None)
        eps = torch.as_tensor(task.threat.eps, dtype=z.dtype, device=z.device)
        z = z * per_row(eps / norm(z, torch.inf if p is None else p).clamp(min=1e-12), z)
        return task.project(z)


@dataclass(frozen=True)
class OutputDiversified:
    """Output-diversified initialisation: a few whole steps that raise a random mixture of the outputs, one a row.

    Random changes of the input hardly move the outputs; these starts lie far apart in them, so that restarts see other
    sides of the model. Tashiro, Song, Ermon, 2020, arXiv 2003.06878; steps, their size and the random point before
    them as in the authors' code.

    Args:
        steps: how many; a forward and a backward each.
        step: their size as a share of the reach.
    """

    steps: int = 2
    step: float = 1.0

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.positive(self.step, "step")

    def __call__(self, task: Task, gradient: Gradient) -> Tensor:
        """The point after the steps, from a random one in the ball."""
        z = task.threat.sample(task.x, task.generator)
        mixture: Tensor | None = None

        def mixed(outputs: Tensor) -> Tensor:
            nonlocal mixture
            if mixture is None:  # the number of classes is seen here first
                mixture = 2 * task.generator.uniform((outputs.shape[1],), outputs.dtype) - 1
            return (outputs * mixture.repeat(len(outputs) // len(mixture), 1)).sum(1)

        for _ in range(self.steps):
            slope, _ = gradient(task.model, task.see, z, mixed, task.generator)
            way = task.threat.steepest(task.x, z, finite(slope))
            z = task.project(z + per_row(self.step * task.threat.reach, z) * way)
        return z
