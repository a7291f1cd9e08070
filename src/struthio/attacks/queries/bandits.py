"""Bandits with priors: the last slope and the likeness of neighbouring pixels make two questions a step suffice."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.attacks.climb import payable
from struthio.attacks.places import changes_values
from struthio.attacks.queries.crowd import ask, difference
from struthio.attacks.queries.windows import as_pictures
from struthio.attacks.task import Task
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Loss, Threat

LINF = {"step": 0.2, "sigma": 0.1, "learning": 100.0, "exploration": 1.0}  # .01 of .05 for the step
L2 = {"step": 0.1, "sigma": 0.01, "learning": 0.1, "exploration": 0.01}  # .5 of 5


@dataclass(frozen=True)
class Bandits(Attack):
    """Bandit optimisation with a time prior and a data prior (Bandits-TD), in Linf and L2.

    A prior, one number for each tile of the picture, follows the slope: in Linf by exponentiated gradients, in L2 by
    plain steps. Both questions of a step are about points inside the threat, so their answers count as attempts; the
    published code asks a third time whether the step has won, and does not count it.

    Args:
        queries: the most questions a row.
        tile: the side of a tile in pixels: 299 / 50 in the paper.
        step: the length of a step as a share of the radius; None for the paper's, .2 in Linf and .1 in L2.
        sigma: the Euclidean distance of the questions, in the units of the input; None for .1 in Linf, .01 in L2.
        learning: how fast the prior follows; None for 100 in Linf, .1 in L2.
        exploration: the Euclidean length of the noise put on the prior; None for 1 in Linf, .01 in L2.
        loss: what has to rise.
    """

    paper: ClassVar[str] = "Ilyas, Engstrom, Madry, 2019, arXiv 1807.07978"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 10_000
    tile: int = 6
    step: float | None = None
    sigma: float | None = None
    learning: float | None = None
    exploration: float | None = None
    loss: Loss = field(default_factory=CrossEntropy)

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.count(self.tile, "tile")
        for name in LINF:
            if getattr(self, name) is not None:
                checks.positive(getattr(self, name), name)

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "Bandits")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best point asked about."""
        check_finite(threat)
        task = Task.whole(model, x, goal, threat, generator)
        return threat.apply(x, self._run(task))

    def _run(self, task: Task) -> Tensor:
        signed = getattr(task.threat, "p", math.inf) == math.inf
        usual = LINF if signed else L2
        step, sigma, learning, exploration = (getattr(self, name) or usual[name] for name in LINF)
        z, prior = task.threat.zero(task.x), self._no_prior(task.x)
        best = Best(z)
        for _ in range((self.queries - 1) // 2):
            stay = payable(task.model, 2)
            task, z, prior = task[stay], z[stay], prior[stay]
            if not len(task):
                break
            noise = task.generator.normal(prior.shape[1:], prior.dtype) * exploration / math.sqrt(prior[0].numel())
            belief = prior.tanh() if signed else prior
            ways = [self._spread(task, belief + side * noise) for side in (1, -1)]
            probes = [task.threat.project(task.x, z + sigma * unit(way)) for way in ways]
            score, won = ask(task, self.loss, best, torch.stack(probes))
            slope = per_row(difference(score[0], score[1]) / (sigma * exploration), noise) * noise
            # The Linf prior is kept as its inverse hyperbolic tangent, in which an exponentiated step is a sum.
            prior = (prior + learning * slope).clamp(-8, 8) if signed else prior + learning * slope
            stay = ~won.any(0)
            task, z, prior = task[stay], z[stay], prior[stay]
            way = task.threat.steepest(task.x, z, self._spread(task, prior))
            z = task.threat.project(task.x, z + step * per_row(task.threat.reach, z) * way)
        last = payable(task.model)
        if bool(last.any()):
            ask(task[last], self.loss, best, z[last][None])
        return best.value

    def _no_prior(self, x: Tensor) -> Tensor:
        """Zero for every tile, [n, c, tiles down, tiles across]."""
        c, h, w = as_pictures(x).shape[1:]
        return x.new_zeros(len(x), c, math.ceil(h / self.tile), math.ceil(w / self.tile))

    def _spread(self, task: Task, prior: Tensor) -> Tensor:
        """The tiles spread over the picture."""
        return F.interpolate(prior, size=as_pictures(task.x).shape[2:], mode="nearest").reshape(task.x.shape)


def unit(way: Tensor) -> Tensor:
    """The direction at Euclidean length 1."""
    return way / per_row(norm(way, 2).clamp(min=1e-12), way)
