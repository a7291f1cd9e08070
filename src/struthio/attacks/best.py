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
        self.value = value  # never changed in place
        self.score = torch.full((len(value),), -torch.inf, device=value.device, dtype=torch.float64)
        self.won = torch.zeros(len(value), dtype=torch.bool, device=value.device)

    def offer(self, rows: Tensor, value: Tensor, score: Tensor, won: Tensor) -> Tensor:
        """Offer values for some rows (their numbers, rising); returns which of them were better, bool [len(rows)]."""
        every = len(rows) == len(self.value)
        held, held_score = (self.won, self.score) if every else (self.won[rows], self.score[rows])
        better = (won & ~held) | ((won == held) & (score > held_score))
        changed = better.nonzero().flatten()
        if len(changed) == len(self.value):  # the usual step of a loop that climbs: nothing need be copied
            self.value = value
        elif len(changed):
            self.value = self.value.index_copy(0, changed if every else rows[changed], value[changed])
        held_score, held = torch.where(better, score.to(self.score.dtype), held_score), held | won
        if every:
            self.score, self.won = held_score, held
        else:
            self.score[rows], self.won[rows] = held_score, held
        return better
