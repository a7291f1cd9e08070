"""Local intrinsic dimensionality: adversarial rows have neighbours in more directions than clean ones."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.detectors.activations import activations, hidden_layers, in_parts
from struthio.detectors.base import Detector
from struthio.detectors.logistic import Logistic
from struthio.detectors.neighbours import local_dimension


class LID(Detector):
    """Logistic regression on the local intrinsic dimensionality at each layer.

    The paper looks for neighbours in the minibatch that a row comes in. Here they are clean rows set apart once, so
    that a score belongs to its row and not to its company; its noisy rows, which count as clean, are for the caller to
    add to x.

    Args:
        layers: at which; () takes all hidden layers.
        neighbours: k.
        reference: how many clean rows are set apart.
    """

    paper: ClassVar[str] = "Ma, Li, Wang, Erfani, Wijewickrema, Schoenebeck, Song et al., 2018, arXiv 1801.02613"
    supervised = True

    def __init__(self, layers: tuple[str, ...] = (), neighbours: int = 20, reference: int = 300) -> None:
        super().__init__(layers)
        checks.count(neighbours, "neighbours")
        if reference < neighbours:
            raise UserError(f"reference is {reference}, but {neighbours} neighbours are looked for among these rows.")
        self.neighbours, self.reference = neighbours, reference
        self.judge = Logistic()

    def build(self, model: nn.Module) -> None:
        """Keep the model, and choose the layers where none were named."""
        super().build(model)
        self.layers = self.layers or hidden_layers(model, self.blank(model))

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        if len(x) <= self.reference:
            raise UserError(f"{len(x)} rows were given, but {self.reference} are set apart and others are needed too.")
        order = torch.randperm(len(x)).to(x.device)
        held, others = x[order[: self.reference]], x[order[self.reference :]]
        for number, name in enumerate(self.layers):
            self.keep(**{f"held{number}": in_parts(partial(self._said, name), held)})
        self.judge.fit(in_parts(self.dimensions, others), in_parts(self.dimensions, x_adv))

    def _said(self, name: str, x: Tensor) -> Tensor:
        return activations(self.inside, [name], x)[1][0].flatten(1)

    def dimensions(self, x: Tensor) -> Tensor:
        """The local dimension of each row at each layer, [n, layers]."""
        _, seen = activations(self.inside, self.layers, x)
        held = [self.get_buffer(f"held{number}") for number in range(len(seen))]
        found = [local_dimension(said.flatten(1), near, self.neighbours) for said, near in zip(seen, held, strict=True)]
        return torch.stack(found, 1)

    def score(self, x: Tensor) -> Tensor:
        """The log-odds of an adversarial row, [n]."""
        odds: Tensor = self.judge(self.dimensions(x))
        return odds
