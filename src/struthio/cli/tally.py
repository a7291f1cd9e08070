"""Counts a batch job as it goes: a few numbers, and one size for each row that was won."""

from __future__ import annotations

import statistics
from array import array
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from struthio.shares import Share

Columns = Mapping[str, npt.NDArray[Any]]  # by name, one value a row


@dataclass
class Tally:
    """What is counted over all batches.

    Attributes:
        rows: how many are done.
        correct: how many clean inputs were classified as their labels.
        robust: how many of these still are after the attack, or make the model abstain.
        attacked: how many rows were attacked; the clean input reached the goal for the others.
        won: on how many of the attacked rows the attack succeeded.
        forwards: of all rows.
        backwards: of all rows.
        sizes: of the changes that won.
        answers: how many rows of a label were answered a class, by (label, class).
    """

    rows: int = 0
    correct: int = 0
    robust: int = 0
    attacked: int = 0
    won: int = 0
    forwards: int = 0
    backwards: int = 0
    sizes: array[float] = field(default_factory=lambda: array("d"))
    answers: Counter[tuple[int, int]] = field(default_factory=Counter)

    def add(self, rows: Columns) -> None:
        """Count some rows, by the columns in which they are kept."""
        won = np.logical_and(rows["attacked"], rows["success"])
        self.rows += len(rows["id"])
        for name in ("correct", "robust", "attacked", "forwards", "backwards"):
            setattr(self, name, getattr(self, name) + int(rows[name].sum()))
        self.won += int(won.sum())
        self.sizes.extend(rows["size"][won].tolist())
        self.answers.update(zip(rows["label"].tolist(), rows["predicted"].tolist(), strict=True))

    def figures(self) -> dict[str, Any]:
        """All figures by name; shares as `{share, count, of, low, high}` with their 95 % intervals."""
        return {
            "rows": self.rows,
            "clean_accuracy": _share(self.correct, self.rows),
            "robust_accuracy": _share(self.robust, self.rows),
            "success_rate": _share(self.won, self.attacked),
            "median_size": statistics.median(self.sizes) if self.sizes else None,
            "mean_size": statistics.fmean(self.sizes) if self.sizes else None,
            "forwards_per_row": self.forwards / max(self.rows, 1),
            "backwards_per_row": self.backwards / max(self.rows, 1),
        }


def _share(count: int, of: int) -> dict[str, float | int] | None:
    return Share(count, of).figures() if of else None
