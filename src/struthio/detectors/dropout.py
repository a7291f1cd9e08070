"""Uncertainty under dropout: a network that drops units at inference disagrees with itself on adversarial rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.detectors.activations import hidden_layers, known
from struthio.detectors.base import Detector

DROPS = nn.modules.dropout._DropoutNd


class DropoutUncertainty(Detector):
    """The variance of the softmax over passes with dropout: U(x) = mean |y|^2 - |mean y|^2.

    Dropout alone is switched on; batch-norm stays in evaluation mode. Every row and pass has a mask of its own.

    Args:
        passes: L; 100 in the paper's experiments, of which 20 tell nearly as much.
        layers: after which to drop units where the model has no dropout of its own; () takes all hidden layers.
        rate: the share of units dropped there; the model's own dropout keeps its own.
    """

    paper: ClassVar[str] = "Feinman, Curtin, Shintre, Gardner, 2017, arXiv 1703.00410"
    random = True

    def __init__(self, passes: int = 20, layers: tuple[str, ...] = (), rate: float = 0.5) -> None:
        super().__init__(layers)
        checks.count(passes, "passes")
        if not 0 < rate < 1:
            raise UserError(f"rate is {rate:g}; a share above 0 and below 1 is needed.")
        self.passes, self.rate = passes, rate

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        if self.layers:
            known(model, self.layers)
        elif not has_dropout(model):
            self.layers = hidden_layers(model, x)

    def score(self, x: Tensor) -> Tensor:
        """The uncertainty, [n], between 0 and 1."""
        with dropping(self.inside, self.layers, self.rate):
            return uncertainty(self.inside, [x] * self.passes)


def uncertainty(model: Callable[[Tensor], Tensor], views: list[Tensor]) -> Tensor:
    """How far the softmax differs between views of the same rows: mean |y|^2 - |mean y|^2, [n]."""
    answers: Tensor = model(torch.cat(views)).softmax(1).reshape(len(views), len(views[0]), -1)
    return answers.square().sum(2).mean(0) - answers.mean(0).square().sum(1)


def has_dropout(model: nn.Module) -> bool:
    """Whether a model drops units by itself, in training."""
    return any(isinstance(part, DROPS) for part in model.modules())


@contextmanager
def dropping(model: nn.Module, layers: tuple[str, ...], rate: float) -> Iterator[None]:
    """The model's own dropout switched on, or dropout after these layers, for a while; all else is as it was."""

    def drop(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        return F.dropout(output, rate)

    quiet = [] if layers else [part for part in model.modules() if isinstance(part, DROPS) and not part.training]
    handles = [part.register_forward_hook(drop) for part in known(model, layers).values()]
    try:
        for part in quiet:
            part.training = True
        yield
    finally:
        for part in quiet:
            part.training = False
        for handle in handles:
            handle.remove()
