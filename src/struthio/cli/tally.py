"""Counts a batch job as it goes: a few numbers, and one size for each row that was won."""

from __future__ import annotations

import statistics
from array import array
from dataclasses import dataclass, field
from typing import Any

from struthio.attacks.stream import Attacked
from struthio.shares import Share


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
    """

    rows: int = 0
    correct: int = 0
    robust: int = 0
    attacked: int = 0
    won: int = 0
    forwards: int = 0
    backwards: int = 0
    sizes: array[float] = field(default_factory=lambda: array("d"))

    def add(self, part: Attacked) -> None:
        """Count one finished batch."""
        result = part.result
        # One forward shows that the clean input reaches the goal, and no more is then spent.
        tried = (result.forwards > 1) | ~result.success
        won = tried & result.success
        self.rows += len(part.ids)
        self.correct += int(part.correct.sum())
        self.robust += int((part.correct & ((part.predicted_adv == part.labels) | part.abstained)).sum())
        self.attacked += int(tried.sum())
        self.won += int(won.sum())
        self.forwards += int(result.forwards.sum())
        self.backwards += int(result.backwards.sum())
        self.sizes.extend(result.size[won].tolist())

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
