"""SimBA: a fixed length up or down each direction of a basis, one after another, kept where it raises the score."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable, climb
from struthio.attacks.places import changes_values
from struthio.attacks.queries.windows import as_pictures
from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, where_rows
from struthio.types import Goal, Loss, State, Threat


@dataclass(frozen=True)
class SimBA(Attack):
    """The simple black-box attack, over single values or over cosines (SimBA-DCT).

    Values come in random order. Cosines come by frequency, in bands as wide as the first, in random order within each.
    A direction and sign that the limits, the radius or a mask leave no room for is passed over without a question.

    Args:
        queries: the most questions a row.
        step: epsilon, the length of a step, in the units of the input.
        basis: "pixel" or "dct".
        band: for "dct", the width of a band of frequencies as a share of the sides: 28 of 224 in the paper.
        loss: what has to rise. The paper's probability of the class, which CrossEntropy() orders points as, does not
            change any more where the model is certain.
    """

    paper: ClassVar[str] = "Guo, Gardner, You, Wilson, Weinberger, 2019, arXiv 1905.07121"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    queries: int = 10_000
    step: float = 0.2
    basis: str = "dct"
    band: float = 0.125
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.positive(self.step, "step")
        checks.one_of(self.basis, ("pixel", "dct"), "basis")
        checks.share(self.band, "band")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "SimBA")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the point of the last step that helped."""
        return climb(model, x, goal, threat, generator, queries=self.queries, rule=self, loss=self.loss)

    def start(self, task: Task) -> State:
        """The order of the directions, whose turn it is, with which sign, and whether the other sign leads nowhere."""
        one = torch.ones_like(task.rows)
        return {"order": self._order(task), "turn": -one, "sign": one, "shut": one < 0}

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """No change first; then a step along the direction whose turn it is."""
        if query == 0:
            return z, state
        order = state["order"]
        direction = order.gather(1, (state["turn"] % order.shape[1])[:, None])[:, 0]
        way = self._direction(task, direction) * self.step
        there, back = (task.threat.project(task.x, z + sign * way) for sign in (1, -1))
        stuck, shut = ((point == z).flatten(1).all(1) for point in (there, back))
        sign = torch.where(stuck, -1, state["sign"])
        return where_rows(sign > 0, there, back), {**state, "sign": sign, "shut": shut}

    def learn(self, state: State, rose: Tensor) -> State:
        """After a step that helped, or two that did not, the next direction; else the other sign."""
        done = rose | (state["sign"] < 0) | state["shut"]
        return {**state, "turn": state["turn"] + done, "sign": torch.where(done, 1, -1)}

    def _order(self, task: Task) -> Tensor:
        """Numbers of directions as [n, directions]: values or frequencies of [c, h, w], counted along rows."""
        lot = task.generator.uniform(task.x.shape[1:]).reshape(as_pictures(task.x).shape)
        if self.basis == "pixel":
            last = ~changeable(task).reshape(lot.shape)  # what may not change comes last
            return (lot + last).flatten(1).argsort(dim=1, stable=True)
        down, across = (torch.arange(side, device=lot.device) // math.ceil(self.band * side) for side in lot.shape[2:])
        return (lot + torch.maximum(down[:, None], across)).flatten(1).argsort(dim=1, stable=True)

    def _direction(self, task: Task, number: Tensor) -> Tensor:
        """Directions of length 1 by their numbers, in the shape of x."""
        x = task.x
        if self.basis == "pixel":
            return torch.zeros_like(x).flatten(1).scatter(1, number[:, None], 1.0).reshape(x.shape)
        c, h, w = as_pictures(x).shape[1:]
        wave = cosines(h, x)[number % (h * w) // w][:, :, None] * cosines(w, x)[number % w][:, None]
        channel = torch.nn.functional.one_hot(number // (h * w), c).to(x.dtype)
        return (channel[:, :, None, None] * wave[:, None]).reshape(x.shape)


def cosines(side: int, like: Tensor) -> Tensor:
    """The orthonormal cosine basis (DCT-II) of a line, one frequency a row, lowest first, [side, side]."""
    place = torch.arange(side, dtype=torch.float64)
    waves = torch.cos(math.pi / side * (place + 0.5) * place[:, None]) * math.sqrt(2 / side)
    waves[0] /= math.sqrt(2)
    return waves.to(like)
