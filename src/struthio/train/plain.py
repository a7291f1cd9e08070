"""Plain training: cross-entropy on the inputs as they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class Plain(Recipe):
    """Cross-entropy on the inputs as they are: what every other recipe is measured against.

    Args:
        smoothing: how much of each label is spread over all classes (label smoothing), in [0, 1).

    Raises:
        UserError: for a smoothing outside [0, 1).
    """

    paper: ClassVar[str] = "C. Szegedy, V. Vanhoucke, S. Ioffe, J. Shlens and Z. Wojna, 2015, arXiv 1512.00567"
    smoothing: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.smoothing < 1:
            raise UserError(f"smoothing is {self.smoothing:g}; a share of the label in [0, 1) is needed.")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy of the batch."""
        return F.cross_entropy(model(x), y, label_smoothing=self.smoothing)
