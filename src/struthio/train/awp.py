"""Adversarial weight perturbation: the loss of another recipe, at the worst weights near the present ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from struthio import checks
from struthio.checks import UserError
from struthio.train.adversarial import Adversarial
from struthio.train.pgd_at import PGDAT
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class AWP(Recipe):
    """L(w + v), where v is one step up the loss of the same adversarial inputs, ||v|| = gamma ||w|| in every layer.

    The inputs are found at w. The loss is then taken at w + v as a function, with v a constant, so that w itself is
    never touched and nothing has to be restored; the statistics of batch-norm move by the loss at w + v alone. Only
    weights of two or more dimensions move; biases and batch-norm stay. The authors' code applies weight decay at w + v,
    an optimiser here applies it at w.

    Args:
        recipe: whose loss it is: one that first finds adversarial inputs (FGSMAT, FastAT, PGDAT, TRADES, MART, Mixing).
        gamma: the length of v as a share of that of w, layer by layer: 0.005 (TRADES) or 0.01 (PGD-AT) in the paper.
        warmup: the share of training that passes before weights are perturbed.

    Raises:
        UserError: for a recipe without adversarial inputs, a gamma below 0, or a warm-up outside [0, 1].
    """

    paper: ClassVar[str] = "Wu, Xia, Wang, 2020, arXiv 2004.05884"

    recipe: Recipe = field(default_factory=PGDAT)
    gamma: float = 0.01
    warmup: float = 0.0

    def __post_init__(self) -> None:
        _inner(self.recipe)
        checks.not_negative(self.gamma, "gamma")
        if not 0 <= self.warmup <= 1:
            raise UserError(f"warmup is {self.warmup:g}; it must be a share of training in [0, 1].")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The loss at w + v."""
        recipe = _inner(self.recipe)
        x_adv = recipe.perturb(model, x, y, moment)
        if moment.done < self.warmup:
            return recipe.on(model, x, x_adv, y)
        weights = {name: w for name, w in model.named_parameters() if w.requires_grad and w.ndim > 1}
        aside = {name: buffer.clone() for name, buffer in model.named_buffers()}
        loss = recipe.on(partial(functional_call, model, aside), x, x_adv, y)
        slopes = torch.autograd.grad(loss, list(weights.values()), allow_unused=True)
        moved = {name: w + self._step(w, slope) for (name, w), slope in zip(weights.items(), slopes, strict=True)}
        return recipe.on(partial(functional_call, model, moved), x, x_adv, y)

    @torch.no_grad()
    def _step(self, w: Tensor, slope: Tensor | None) -> Tensor:
        if slope is None:
            return torch.zeros_like(w)
        step: Tensor = self.gamma * w.norm() / slope.norm().clamp(min=torch.finfo(w.dtype).tiny) * slope
        return step

    def prepare(self, model: nn.Module) -> nn.Module:
        """As the recipe does."""
        return self.recipe.prepare(model)

    def finish(self, trained: nn.Module) -> nn.Module:
        """As the recipe does."""
        return self.recipe.finish(trained)

    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """As the recipe does."""
        self.recipe.after_step(model, moment)


def _inner(recipe: Recipe) -> Adversarial:
    if not isinstance(recipe, Adversarial):
        raise UserError(
            f"AWP wraps a recipe that first finds adversarial inputs, such as PGDAT() or TRADES(); "
            f"{type(recipe).__name__} is none."
        )
    return recipe
