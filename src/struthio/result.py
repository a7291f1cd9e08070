"""What came out of an attack: one entry a row."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from struthio.rows import Rows


@dataclass(frozen=True)
class Result:
    """What an attack found, with every figure recomputed from `x_adv` outside the attack.

    Attributes:
        x_adv: the inputs found, [n, ...]; for rows that held, the best that was tried.
        success: whether the goal is reached by `x_adv` on the model as given, bool [n].
        size: the distance from x in the threat's own measure, [n].
        score: the margin by which the goal is reached (above 0) or missed (below 0), in logits, [n].
        forwards: how often the model was asked about each row, int64 [n].
        backwards: how often a gradient was taken for each row, int64 [n].
        predicted: the strongest class on `x_adv`, int64 [n]; -1 where a model behind a wire never answered.
    """

    x_adv: Tensor
    success: Tensor
    size: Tensor
    score: Tensor
    forwards: Tensor
    backwards: Tensor
    predicted: Tensor

    def __len__(self) -> int:
        return len(self.success)

    def __getitem__(self, rows: Rows) -> Result:
        return Result(*(getattr(self, field.name)[rows] for field in fields(self)))

    @property
    def rate(self) -> float:
        """The share of rows on which the attack succeeded, in [0, 1]."""
        return float(self.success.float().mean())

    def __repr__(self) -> str:
        won = self.size[self.success]
        median = f"{float(won.median()):.4g}" if len(won) else "none"
        return (
            f"Result({int(self.success.sum())} of {len(self)} rows succeeded, median size {median}, "
            f"{self.forwards.float().mean():.4g} forwards and {self.backwards.float().mean():.4g} backwards a row)"
        )


def joined(results: list[Result]) -> Result:
    """One result from the results of consecutive batches."""
    return Result(*(torch.cat([getattr(r, field.name) for r in results]) for field in fields(Result)))
