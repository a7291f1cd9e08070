"""k winners take all, k-WTA: of each layer only the largest activations pass."""

from __future__ import annotations

import math
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense
from struthio.defenses.insert import instead

WIDTH = 0.05  # of the standard deviation of a row's values: wider ones were weaker stand-ins on digits


class KWinners(Defense):
    """Keeps the largest values of each row, over all channels and places, and sets the others to zero.

    Xiao, Zhong, Zheng, 2020, arXiv 1905.10510. The answer jumps wherever a winner changes, which is nearly everywhere,
    so the gradient, right as it is, tells little about a step. Tramer et al., 2020, arXiv 2002.08347, estimate it from
    many answers instead; here a soft threshold stands in for it (ours), which costs no more than the gradient and
    shows what a loser would do if it won. `around` puts it in place of each ReLU; the network is best trained with it.

    Args:
        share: of the values, which win; 0.1 and 0.2 in the paper. Values as large as the last winner win with it.
    """

    paper: ClassVar[str] = "Xiao, Zhong, Zheng, 2020, arXiv 1905.10510"

    def __init__(self, share: float = 0.2) -> None:
        super().__init__()
        checks.share(share, "share")
        self.share = share

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model with one in place of each ReLU, sharing its parameters."""
        return instead(model, (nn.ReLU,), partial(cls, *options, **named))

    def forward(self, a: Tensor) -> Tensor:
        """The activations [n, ...], all but the winners zero."""
        flat = a.flatten(1)
        return (flat * (flat >= self._last(flat))).reshape(a.shape)

    def stand_in(self, a: Tensor) -> Tensor:
        """Each value times how surely it wins: a sigmoid around the last winner, a twentieth of the spread wide."""
        flat = a.flatten(1)
        width = (WIDTH * flat.detach().std(1, keepdim=True)).clamp(min=torch.finfo(a.dtype).eps)
        return (flat * ((flat - self._last(flat)) / width).sigmoid()).reshape(a.shape)

    def _last(self, flat: Tensor) -> Tensor:
        winners = math.ceil(self.share * flat.shape[1])
        return flat.detach().topk(winners, dim=1).values[:, -1:]

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"share={self.share:g}"
