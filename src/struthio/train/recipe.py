"""What every recipe shares: a loss of a model and a labelled batch, and what it may know of the moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.rows import RowGenerator, as_generator


@dataclass(frozen=True)
class Moment:
    """Where training stands when a loss is asked for.

    Attributes:
        generator: the random numbers of these rows at this step, which a killed and resumed run draws again.
        done: the share of training that lies behind, in [0, 1).
        step: how many optimiser steps lie behind.
        kept: what the recipe remembers from step to step, tensors by name; every checkpoint holds it.
    """

    generator: RowGenerator
    done: float = 0.0
    step: int = 0
    kept: dict[str, Tensor] = field(default_factory=dict)


Kind = TypeVar("Kind", bound=nn.Module)


def prepared(model: nn.Module, kind: type[Kind], recipe: str) -> Kind:
    """What `prepare` of a recipe gave. Raises UserError for anything else."""
    if not isinstance(model, kind):
        raise UserError(f"a {type(model).__name__} was given; {recipe} needs recipe.prepare(model).")
    return model


@dataclass(frozen=True)
class Recipe:
    """A frozen dataclass of options with one method to write, `loss`.

    A recipe that trains more than the model (a generator, a second head, auxiliary batch-norm) says so in `prepare` and
    gives back what is to be used in `finish`. All that is trained follows the one loss: what must not follow a part of
    it is detached there.

    To add a recipe: subclass, write `loss`, name the paper, and add one line to `registry.py`.
    """

    paper: ClassVar[str]  # authors, year, arXiv number

    @property
    def replays(self) -> int:
        """How many steps are taken on each batch."""
        return 1

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean loss of a batch, a scalar. `model` is what `prepare` gave, in training mode."""
        raise NotImplementedError

    def prepare(self, model: nn.Module) -> nn.Module:
        """What is trained: the model itself, or a module that holds it."""
        return model

    def finish(self, trained: nn.Module) -> nn.Module:
        """What is used afterwards."""
        return trained

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """What is done to the weights after each step of the optimiser, without gradients: nothing here.

        Where several processes train one model each calls it, so that what is drawn at random may only depend on
        `moment.step`.
        """

    def __call__(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment | None = None) -> Tensor:
        """The mean loss of a batch, a scalar.

        Args:
            model: what `prepare` gave, in training mode.
            x: the inputs [n, ...].
            y: their classes, int64 [n].
            moment: where training stands; None: the first step.

        Raises:
            UserError: where there is not one whole class number a row.
        """
        checks.classes(y, len(x), "labels")
        return self.loss(model, x, y, moment or Moment(as_generator(0, torch.empty(len(x)))))
