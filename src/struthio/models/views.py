"""Models seen with less, so that a black-box attack cannot cheat; and several models seen as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.meter import Ended
from struthio.types import Model


class _View(nn.Module):
    """A model seen with less. What one behind a wire says of its questions is passed on, so that all are counted."""

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model: Any = model

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """What is left of the model's outputs [n, classes]; NaN in rows that it did not answer."""
        try:
            return self._seen(self.model(x))
        except Ended as ended:
            ended.outputs = None if ended.outputs is None else self._seen(ended.outputs)
            raise

    def _seen(self, outputs: Tensor) -> Tensor:
        return outputs

    @property
    def cost(self) -> Tensor:
        """How often the model was really asked about each input of the last batch, int64 [n], where it says so."""
        cost: Tensor = self.model.cost
        return cost

    @property
    def left(self) -> int | None:
        """How many inputs it may still be asked about, where it says so."""
        left: int | None = self.model.left
        return left

    @property
    def ended(self) -> Ended | None:
        """Why it gave up a question for the first time, where it says so."""
        ended: Ended | None = self.model.ended
        return ended

    @property
    def allowed(self) -> Tensor | None:
        """How often each input of the next batch may be sent, where it can be told so."""
        allowed: Tensor | None = self.model.allowed
        return allowed

    @allowed.setter
    def allowed(self, most: Tensor | None) -> None:
        self.model.allowed = most


class ScoresOnly(_View):
    """Class scores without gradient."""


class LabelsOnly(_View):
    """The strongest class alone, as 1 in a row of zeros."""

    def _seen(self, outputs: Tensor) -> Tensor:
        labels = torch.zeros_like(outputs).scatter_(1, outputs.argmax(1, keepdim=True), 1)
        return labels.masked_fill(outputs.isnan().any(1, keepdim=True), torch.nan)


def scores_only(model: Model) -> ScoresOnly:
    """The model as a score attack sees it: no gradient can be taken."""
    return ScoresOnly(model)


def labels_only(model: Model) -> LabelsOnly:
    """The model as a label attack sees it: the strongest class, and nothing about the others."""
    return LabelsOnly(model)


class LogitEnsemble(nn.Module):
    """Several models attacked as one, by the weighted mean of their logits (Dong et al., 2018, arXiv 1710.06081).

    Args:
        models: they must agree on classes.
        weights: one a model, above 0; scaled to sum to 1. None weighs all alike.
        average: "logits"; "probabilities", whose logarithm is given; or "losses": the mean log-probabilities, so that
            `loss=Logit()` in an attack is the mean of the members' cross-entropies, exactly. (`CrossEntropy()` would
            normalise them again, which is the average of logits.)
    """

    weights: Tensor

    def __init__(
        self, models: Sequence[nn.Module], weights: Sequence[float] | None = None, average: str = "logits"
    ) -> None:
        super().__init__()
        checks.one_of(average, ("logits", "probabilities", "losses"), "average")
        given = [1.0] * len(models) if weights is None else list(weights)
        if not models or len(given) != len(models) or min(given) <= 0:
            raise UserError(
                f"{len(models)} models and {len(given)} weights were given; one weight above 0 a model is needed."
            )
        self.models, self.average = nn.ModuleList(models), average
        self.register_buffer("weights", torch.tensor(given) / sum(given), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """The mean logits, the logarithm of the mean probabilities, or the mean log-probabilities, [n, classes]."""
        outputs = torch.stack([model(x) for model in self.models])
        weights = self.weights.to(outputs).reshape(-1, 1, 1)
        if self.average == "logits":
            return (weights * outputs).sum(0)
        if self.average == "losses":
            return (weights * outputs.log_softmax(2)).sum(0)
        return (weights.log() + outputs.log_softmax(2)).logsumexp(0)


class Logits(nn.Module):
    """A model that returns probabilities, made to return their logarithms, which are logits as good as any.

    Args:
        model: returns probabilities [n, classes].
        floor: the smallest probability told from 0; below it the gradient is lost inside the model already.
    """

    def __init__(self, model: nn.Module, floor: float = 1e-30) -> None:
        super().__init__()
        self.model, self.floor = model, floor

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities [n, classes]."""
        probabilities: Tensor = self.model(x)
        return probabilities.clamp(min=self.floor).log()
