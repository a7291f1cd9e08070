"""What an attack works on, held together so that rows which are won leave all of it at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from struthio.meter import Metered
from struthio.rows import RowGenerator, Rows, finite
from struthio.types import Goal, Gradient, Loss, State, Threat


@dataclass(frozen=True)
class Task:
    """The rows in play: their model, inputs, goal, threat and random numbers, and which rows of the batch they are."""

    model: Metered
    x: Tensor
    goal: Goal
    threat: Threat
    generator: RowGenerator
    rows: Tensor

    @classmethod
    def whole(cls, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Task:
        """All rows of a batch."""
        return cls(model, x, goal, threat, generator, torch.arange(len(x), device=x.device))

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, stay: Rows) -> Task:
        return Task(
            self.model[stay],
            self.x[stay],
            self.goal[stay],
            self.threat[stay],
            self.generator[stay],
            self.rows[stay],
        )

    def see(self, z: Tensor) -> Tensor:
        """The inputs that the model gets for z."""
        return self.threat.apply(self.x, z)

    @cached_property
    def project(self) -> Callable[[Tensor], Tensor]:
        """The nearest allowed z; of a ball, what does not depend on z is worked out once."""
        about = getattr(self.threat, "about", None)
        return partial(self.threat.project, self.x) if about is None else about(self.x)

    def slope(self, gradient: Gradient, loss: Loss, z: Tensor) -> tuple[Tensor, Tensor]:
        """The slope of the goal's score at z, finite everywhere, and the outputs there."""
        slope, outputs = gradient(self.model, self.see, z, self.score(loss), self.generator)
        return finite(slope), outputs

    def score(self, loss: Loss) -> Callable[[Tensor], Tensor]:
        """From outputs to the loss as the adversary sees it."""
        return partial(self.goal.score, loss)

    @torch.no_grad()
    def judge(self, loss: Loss, z: Tensor) -> tuple[Tensor, Tensor]:
        """The score at z and whether it is won, [n] each, by one forward."""
        outputs = self.model(self.see(z))
        return self.goal.score(loss, outputs), self.goal.success(outputs)


def remaining(won: Tensor) -> Tensor:
    """The rows that are not won."""
    return (~won).nonzero().flatten()


def narrow(state: State, stay: Tensor) -> State:
    """The state of the rows that stay."""
    return {name: value[stay] for name, value in state.items()}
