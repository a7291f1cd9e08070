"""What an audit found out about some rows under one threat: the columns of its store."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from struthio.rows import Rows

NOBODY, CLEAN, FAILED = -1, -2, -3  # in `Findings.by`


@dataclass(frozen=True)
class Findings:
    """One entry a row, all on the CPU.

    Attributes:
        ids: which rows of the data set, int64 [n].
        labels: the true classes, int64 [n].
        predicted: the class of the clean input, int64 [n]; -1 where the model failed on it.
        fell: whether an allowed input was found that the model as given takes for another class, bool [n]. A clean
            mistake has fallen too, at size 0.
        by: which part of the suite won, int64 [n]: its number, NOBODY (-1) where nothing did, CLEAN (-2) where the
            clean input was mistaken already, FAILED (-3) where the model raised an error.
        predicted_adv: the class of the best input found, int64 [n].
        size: the smallest change that won, float64 [n], in the threat's measure; infinite where nothing did.
        margin: how far the best input is over the border (above 0) or short of it, in logits, float64 [n].
        smallest: the smallest change found at any radius, float64 [n]; infinite where none was, NaN where none was
            looked for.
        certified: whether it was proved that no allowed input is mistaken, bool [n].
        suspicion: how far abstaining is above the strongest class on the clean input, float64 [n]: above 0 it is
            flagged; NaN where the model cannot abstain or failed.
        suspicion_adv: the same on the best input found, where the clean one was right and its strongest class is
            wrong, flagged or not, float64 [n]; NaN elsewhere.
        forwards: how often the model was asked about each row, int64 [n].
        backwards: how often a gradient was taken for each row, int64 [n].
    """

    ids: Tensor
    labels: Tensor
    predicted: Tensor
    fell: Tensor
    by: Tensor
    predicted_adv: Tensor
    size: Tensor
    margin: Tensor
    smallest: Tensor
    certified: Tensor
    suspicion: Tensor
    suspicion_adv: Tensor
    forwards: Tensor
    backwards: Tensor

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, rows: Rows) -> Findings:
        return Findings(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def correct(self) -> Tensor:
        """Rows whose clean input the model takes for its label, bool [n]."""
        return self.predicted == self.labels

    @property
    def held(self) -> Tensor:
        """Rows that nothing brought down, bool [n]."""
        return ~self.fell


def begun(ids: Tensor, labels: Tensor, predicted: Tensor, wrong: Tensor, margin: Tensor, forwards: int) -> Findings:
    """What is known of rows [n] before any attack.

    Args:
        ids: their numbers.
        labels: their classes.
        predicted: what the model takes the clean inputs for.
        wrong: where that is a mistake, or abstaining.
        margin: how far it is from the border, below 0 where it is right.
        forwards: how often each row was asked about.
    """
    n = len(ids)
    return Findings(
        ids=ids.cpu(),
        labels=labels.cpu(),
        predicted=predicted.cpu(),
        fell=wrong.cpu(),
        by=torch.where(wrong, CLEAN, NOBODY).cpu(),
        predicted_adv=predicted.cpu().clone(),
        size=torch.where(wrong, 0.0, math.inf).double().cpu(),
        margin=margin.double().cpu(),
        smallest=torch.full((n,), math.nan, dtype=torch.float64),
        certified=torch.zeros(n, dtype=torch.bool),
        suspicion=torch.full((n,), math.nan, dtype=torch.float64),
        suspicion_adv=torch.full((n,), math.nan, dtype=torch.float64),
        forwards=torch.full((n,), forwards),
        backwards=torch.zeros(n, dtype=torch.int64),
    )


def joined(parts: list[Findings]) -> Findings:
    """The findings of several batches as one, in their order."""
    return Findings(*(torch.cat([getattr(part, field.name) for part in parts]) for field in fields(Findings)))
