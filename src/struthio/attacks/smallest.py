"""The smallest change that won each row so far."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.rows import where_rows
from struthio.types import Threat


class Smallest:
    """Keeps, for each row, the input of smallest size that won; until one has, the one with the highest score.

    Args:
        x: the inputs [n, ...], kept until something is offered.
    """

    def __init__(self, x: Tensor) -> None:
        self.value = x.clone()
        self.size = torch.full((len(x),), torch.inf, device=x.device, dtype=torch.float64)
        self.score = torch.full((len(x),), -torch.inf, device=x.device, dtype=torch.float64)

    @property
    def won(self) -> Tensor:
        """Rows that something has won, bool [n]."""
        return self.size.isfinite()

    def offer(self, rows: Tensor, x_adv: Tensor, size: Tensor, score: Tensor, won: Tensor) -> Tensor:
        """Offer inputs for some rows (their numbers); returns which of these were better, bool [len(rows)]."""
        held, size, score = self.size[rows], size.to(self.size.dtype), score.to(self.score.dtype)
        smaller = size < held * (1 - 1e-6)  # of wins that lie on one sphere the first is kept, whatever the rounding
        better = torch.where(held.isfinite() | won, won & smaller, score > self.score[rows])
        changed = better.nonzero().flatten()
        self.value = self.value.index_copy(0, rows[changed], x_adv[changed].to(self.value.dtype))
        self.score[rows] = torch.where(better, score, self.score[rows])
        self.size[rows] = torch.where(better & won, size, held)
        return better

    def inside(self, x: Tensor, threat: Threat) -> Tensor:
        """What was found, [n, ...]; what lies beyond the radius is brought back to it and is then no win."""
        beyond = ~threat.allows(x, self.value)
        if not bool(beyond.any()):
            return self.value
        return where_rows(beyond, threat.apply(x, threat.project(x, self.value - x)), self.value)
