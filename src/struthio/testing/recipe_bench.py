"""What every training recipe is tried on: a small network in training mode, eight rows, and where training stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.rows import RowGenerator
from struthio.testing.models import small_inputs, small_net
from struthio.testing.require import require
from struthio.train.recipe import Moment, Recipe

SEED, ROWS, CLASSES = 7, 8, 5


@dataclass
class Bench:
    """What a recipe is tried on: a small network in training mode, eight rows of pictures, and where training stands.

    The network has batch-norm, whose two modes differ, and no dropout, which would draw from torch's global numbers.
    """

    recipe: Recipe
    dtype: torch.dtype = torch.float64
    kept: dict[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.x = small_inputs(ROWS).to(self.dtype)
        self.y = torch.arange(ROWS) % CLASSES
        self.model = network().to(self.dtype)
        with no_trace(self.numbers(-1)):
            self.trained = self.recipe.prepare(self.model).train()

    def numbers(self, step: int) -> RowGenerator:
        """The rows' random numbers at a step."""
        return RowGenerator.seeded(SEED, torch.arange(100, 100 + ROWS)).fold(step + 1)

    def moment(self, step: int = 0, done: float = 0.0) -> Moment:
        """Where training stands."""
        return Moment(self.numbers(step), done, step, self.kept)

    def loss(self, step: int = 0, done: float = 0.0) -> Tensor:
        """The recipe's loss at this step; torch's global numbers are those of the rows, as in `fit`."""
        with no_trace(self.numbers(step)):
            return self.recipe(self.trained, self.x, self.y, self.moment(step, done))

    def wanted(self) -> dict[str, nn.Parameter]:
        """What is trained, by name."""
        return {name: value for name, value in self.trained.named_parameters() if value.requires_grad}

    def slopes(self, step: int = 0, done: float = 0.0) -> tuple[Tensor, dict[str, Tensor | None]]:
        """The loss and its gradient for each trained parameter."""
        self.trained.zero_grad()
        loss = self.loss(step, done)
        require(loss.ndim == 0, f"the loss has shape {tuple(loss.shape)}, not that of one number")
        require(loss.requires_grad, "the loss carries no gradient")
        loss.backward()
        return loss.detach(), {name: value.grad for name, value in self.wanted().items()}


def network() -> nn.Module:
    """The small network of the other contracts, with its frozen parameter, without dropout."""
    net = small_net()
    dropout = net[4]
    assert isinstance(dropout, nn.Dropout)
    dropout.p = 0.0
    return net.train()


def made(recipe: Recipe | type[Recipe]) -> Recipe:
    """The recipe, or one with the defaults of its class."""
    return recipe() if isinstance(recipe, type) else recipe


def same(a: Sequence[Tensor | None], b: Sequence[Tensor | None]) -> bool:
    """Whether two lists hold equal tensors, or nothing, in the same places."""
    return len(a) == len(b) and all(
        one is other or (one is not None and other is not None and torch.equal(one, other))
        for one, other in zip(a, b, strict=True)
    )


class Breaking:
    """A hook that raises when it is called for the n-th time."""

    def __init__(self, at: int) -> None:
        self.at, self.calls = at, 0

    def __call__(self, part: nn.Module, inputs: Any) -> None:
        """Count, and raise when it is time."""
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("this model was made to break")
