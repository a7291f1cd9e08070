"""Few pixels by differential evolution: a population of small sets of pixels and colours breeds for the score."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.attacks.climb import changeable, payable
from struthio.attacks.places import by_place, changes_values, innermost, limits
from struthio.attacks.queries.crowd import ask, at_once
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.threats import L0
from struthio.types import Goal, Loss, Threat


@dataclass(frozen=True)
class FewPixels(Attack):
    """The one-pixel attack, and its kin with as many pixels or values as the threat allows.

    A candidate is a list of places and colours. A child is the first of three random candidates plus a share of the
    difference of the two others, with no crossover, and takes its parent's place where its score is higher. Whole
    generations are asked about, so a row that is won leaves at the end of one.

    Args:
        population: how many candidates.
        generations: how many times all of them breed; with the first population this makes population *
            (generations + 1) questions a row.
        share: F, how much of the difference is added.
        loss: what has to rise. The paper's probability of the class, which CrossEntropy() orders points as, does not
            change any more where the model is certain.
    """

    paper: ClassVar[str] = "Su, Vargas, Sakurai, 2019, arXiv 1710.08864"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    population: int = 400
    generations: int = 100
    share: float = 0.5
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        checks.count(self.population, "population")
        checks.count(self.generations, "generations")
        checks.positive(self.share, "share")
        if self.population < 4:
            raise UserError(
                f"population is {self.population}; a child has three other parents, so at least 4 are needed."
            )

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "FewPixels")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best candidate of all generations."""
        check_finite(threat)
        task = Task.whole(model, x, goal, threat, generator)[payable(model, self.population)]
        best = Best(threat.zero(x))
        if len(task):
            self._evolve(task, best)
        return threat.apply(x, best.value)

    def _evolve(self, task: Task, best: Best) -> None:
        pool = _first(task, self.population)
        score, won = self._ask(task, best, pool)
        for _ in range(self.generations):
            stay = ~won.any(1) & payable(task.model, self.population)
            task, pool, score = task[stay], pool[stay], score[stay]
            if not len(task):
                break
            children = self._breed(task, pool)
            scores, won = self._ask(task, best, children)
            better = scores > score
            pool = torch.where(better[:, :, None, None], children, pool)
            score = torch.where(better, scores, score)

    def _ask(self, task: Task, best: Best, pool: Tensor) -> tuple[Tensor, Tensor]:
        """Scores and wins of all candidates, [n, population] each."""
        free = by_place(task.threat, changeable(task))
        parts = pool.transpose(0, 1).split(at_once(task.x))
        answers = [ask(task, self.loss, best, _painted(task, part, free)) for part in parts]
        return torch.cat([score for score, _ in answers]).T, torch.cat([won for _, won in answers]).T

    def _breed(self, task: Task, pool: Tensor) -> Tensor:
        """One child for each candidate, from three that differ."""
        n, size = pool.shape[:2]
        first = task.generator.integers(size, (size,))
        second, third = task.generator.integers(size - 1, (size,)), task.generator.integers(size - 2, (size,))
        third = third + (third >= second)
        parents = [first, *((first + 1 + other) % size for other in (second, third))]
        a, b, c = (pool[torch.arange(n, device=pool.device)[:, None], parent] for parent in parents)
        return _settled(task, a + self.share * (b - c))


def _sides(task: Task) -> tuple[int, ...]:
    """The sides of the grid in which places are counted: lines and columns, for values the channel too."""
    ball = innermost(task.threat)
    return tuple(task.x.shape[2:] if isinstance(ball, L0) and ball.unit == "pixel" else task.x.shape[1:])


def _first(task: Task, population: int) -> Tensor:
    """Places anywhere and colours from a normal distribution about grey, [n, population, pixels, place and colour]."""
    sides, (low, high) = _sides(task), _ends(task)
    channels = by_place(task.threat, task.x).shape[1]
    pixels = max(1, min(int(torch.as_tensor(task.threat.eps).max()), math.prod(sides)))
    # Pixels come first in the draw, so that a row's numbers do not depend on how many pixels other rows have.
    lot = task.generator.uniform((pixels, population, len(sides) + channels), task.x.dtype).transpose(1, 2)
    places = (lot[..., : len(sides)] * torch.tensor(sides, device=lot.device)).floor()
    colours = torch.special.ndtri(lot[..., len(sides) :])  # after Su et al.'s N(128, 127) for 0 to 255
    return _settled(task, torch.cat([places, low + (0.5 + 0.5 * colours) * (high - low)], 3))


def _ends(task: Task) -> tuple[float, float]:
    """The lowest and the highest colour."""
    box = limits(task.threat)
    return float(torch.as_tensor(box.low).min()), float(torch.as_tensor(box.high).max())


def _settled(task: Task, pool: Tensor) -> Tensor:
    """Candidates with whole places inside the picture and colours between the limits."""
    sides = _sides(task)
    last = torch.tensor(sides, dtype=pool.dtype, device=pool.device) - 1
    places = pool[..., : len(sides)].round().clamp(min=0).minimum(last)
    return torch.cat([places, pool[..., len(sides) :].clamp(*_ends(task))], 3)


def _painted(task: Task, pool: Tensor, free: Tensor) -> Tensor:
    """Candidates [k, n, pixels, ...] as changes of x, [k, n, ...]; the last of several pixels in one place counts."""
    sides, flat = _sides(task), by_place(task.threat, task.x)
    k, channels = len(pool), flat.shape[1]
    steps = torch.tensor([math.prod(sides[axis + 1 :]) for axis in range(len(sides))], device=pool.device)
    place = (pool[..., : len(sides)].long() * steps).sum(3)
    many = torch.as_tensor(task.threat.eps, device=pool.device).expand(len(task))
    z = torch.zeros_like(flat).expand(k, *flat.shape).clone()
    for pixel in range(pool.shape[2]):
        where = place[:, :, pixel, None, None].expand(-1, -1, channels, 1)
        change = pool[:, :, pixel, len(sides) :, None] - flat.expand_as(z).gather(3, where)
        z.scatter_(3, where, torch.where((pixel < many)[:, None, None], change, z.gather(3, where)))
    return (z * free).reshape(k, *task.x.shape)
