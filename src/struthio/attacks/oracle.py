"""A model as one who steals it sees it: labels, each counted, none asked for twice, until the questions run out."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor

from struthio import checks
from struthio.meter import BudgetSpent, Ended, Metered
from struthio.models.sklearn import SklearnScores, is_classifier
from struthio.rows import RowGenerator
from struthio.types import Model

AT_ONCE = 128
UNKNOWN = -1  # the label of an input that was not answered


class Oracle:
    """Answers with class numbers alone, for as long as it may be asked.

    Attributes:
        queries: how often the model was asked.
        classes: how many it knows; 0 before its first answer.
        ended: why it answers no more, or None.

    Args:
        oracle: any model, or a fitted scikit-learn classifier.
        budget: the most questions in all, or None.
    """

    def __init__(self, oracle: Model | Any, budget: int | None) -> None:
        if budget is not None:
            checks.count(budget, "budget")
        self.model: Model = SklearnScores(oracle, "labels") if is_classifier(oracle) else oracle
        checks.mode(self.model)
        self.budget, self.queries, self.classes = budget, 0, 0
        self.ended: Ended | None = None
        self.answers: dict[bytes, int] = {}

    def remember(self, x: Tensor, labels: Tensor, classes: int) -> None:
        """What was answered in an earlier call."""
        self.answers.update(zip(keys_of(x), labels.tolist(), strict=True))
        self.classes = classes

    def labelled(self, x: Tensor, rows: RowGenerator) -> tuple[Tensor, Tensor, RowGenerator]:
        """Those of the inputs that were answered, their labels, and their random numbers."""
        keys = keys_of(x)
        fresh = torch.tensor([place for place, key in enumerate(keys) if key not in self.answers], dtype=torch.int64)
        for places in fresh.split(AT_ONCE):
            if len(places) and self.ended is None:
                answered = self._ask(x[places.to(x.device)]).tolist()
                pairs = zip(places.tolist(), answered, strict=True)
                self.answers.update({keys[place]: label for place, label in pairs if label != UNKNOWN})
        labels = torch.tensor([self.answers.get(key, UNKNOWN) for key in keys], device=x.device)
        there = labels != UNKNOWN
        return x[there], labels[there], rows[there]

    @torch.no_grad()
    def _ask(self, x: Tensor) -> Tensor:
        """The labels of x, int64 [n]; UNKNOWN from where the questions ended."""
        labels = torch.full((len(x),), UNKNOWN, device=x.device)
        own = getattr(self.model, "left", None) or None  # an endpoint's; with 0 left it still answers what it knows
        given = None if self.budget is None else self.budget - self.queries
        left = min((part for part in (own, given) if part is not None), default=len(x))
        if left < len(x):
            self.ended = BudgetSpent(f"the budget is spent: {self.queries + max(left, 0):,} questions were asked.")
        if left <= 0:
            return labels
        some = x[:left]
        meter = Metered(self.model, len(some), device=x.device)
        try:
            outputs: Tensor | None = meter(some)
        except Ended as ended:
            self.ended, outputs = ended, ended.outputs
        self.queries += int(meter.forwards.sum())
        if outputs is not None:
            self.classes = outputs.shape[1]
            labels[: len(some)] = outputs.argmax(1).masked_fill(outputs.isnan().any(1), UNKNOWN)
        return labels


def keys_of(x: Tensor) -> list[bytes]:
    """What tells one input from another, one a row."""
    return [hashlib.sha256(row.tobytes()).digest() for row in x.detach().cpu().numpy()]
