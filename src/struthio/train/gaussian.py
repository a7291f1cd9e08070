"""Training under Gaussian noise, so that the network can be smoothed by the same noise and certified."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class Gaussian(Recipe):
    """J(x + noise, y), the noise drawn anew for each row and step and never clipped.

    Smooth with the same sigma afterwards. That of the paper is 0.12, 0.25, 0.5 or 1, for pixels in [0, 1].

    Args:
        sigma: the standard deviation of the noise, in the unit of x; 0 is plain training.

    Raises:
        UserError: for a sigma below 0.
    """

    paper: ClassVar[str] = "Cohen, Rosenfeld, Kolter, 2019, arXiv 1902.02918"

    sigma: float = 0.25

    def __post_init__(self) -> None:
        checks.not_negative(self.sigma, "sigma")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy under noise."""
        return F.cross_entropy(model(x + self.sigma * moment.generator.normal(x.shape[1:], x.dtype)), y)
