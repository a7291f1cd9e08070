"""The best that was found for each row so far."""

from __future__ import annotations

import torch
from torch import Tensor


class Best:
    """Keeps, for each row, the value with the highest score; a won row always beats one that is not.

    Args:
        value: where each row begins, [n, ...]; kept until something is offered.
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value.clone()
        self.score = torch.full((len(value),), -torch.inf, device=value.device, dtype=torch.float64)
        self.won = torch.zeros(len(value), dtype=torch.bool, device=value.device)

    def offer(self, rows: Tensor, value: Tensor, score: Tensor, won: Tensor) -> Tensor:
        """Offer values for some rows (their numbers); returns which of these were better, bool [len(rows)]."""
        held, held_score = self.won[rows], self.score[rows]
        better = (won & ~held) | ((won == held) & (score > held_score))
        changed = better.nonzero().flatten()
        if len(changed) == len(self.value):  # the usual step of a loop that climbs: nothing need be copied
            self.value = value
        else:
            self.value = self.value.index_copy(0, rows[changed], value[changed])
        self.score[rows] = torch.where(better, score.to(self.score.dtype), held_score)
        self.won[rows] = held | won
        return better
