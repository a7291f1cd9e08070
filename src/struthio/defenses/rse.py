"""Random self-ensemble, RSE: noise before every convolution, and the mean of several passes."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense
from struthio.defenses.insert import CONVOLUTIONS, swapped
from struthio.defenses.noise import GaussianNoise


class Passes(Defense):
    """The mean of a random model's probabilities over several passes, given as their logarithms.

    Args:
        model: random, from a batch to logits [n, classes].
        passes: how many in evaluation mode. In training mode it is one: the noise of one pass, as in the papers.
    """

    paper: ClassVar[str] = "Liu, Cheng, Zhang, Hsieh, 2018, arXiv 1712.00673"
    random = True

    def __init__(self, model: nn.Module, passes: int = 10) -> None:
        super().__init__()
        checks.count(passes, "passes")
        self.model, self.passes, self.training = model, passes, model.training

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The mean over this model's passes."""
        return cls(model, *options, **named)

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities [n, classes]."""
        passes = 1 if self.training else self.passes
        each = torch.stack([self.model(x).log_softmax(1) for _ in range(passes)])
        mean: Tensor = each.logsumexp(0) - math.log(passes)
        return mean


class RSE(Passes):
    """A network with noise before each convolution, at training and at test, whose probabilities are averaged.

    Liu, Cheng, Zhang, Hsieh, 2018, arXiv 1712.00673. The network is to be trained with the noise: make the RSE first,
    then train it. `passes=1` is noise before convolutions and no more.

    Args:
        model: the network, which shares its parameters and is left as it is. Its convolutions must be modules.
        first: the deviation of the noise before the first convolution.
        inner: the deviation before all others.
        passes: how many are averaged in evaluation mode; one is made in training mode. The paper takes 10 to 50.
    """

    def __init__(self, model: nn.Module, first: float = 0.2, inner: float = 0.1, passes: int = 10) -> None:
        checks.positive(inner, "inner")
        sigmas = iter([first])
        noisy = swapped(model, CONVOLUTIONS, lambda layer: nn.Sequential(GaussianNoise(next(sigmas, inner)), layer))
        super().__init__(noisy, passes)
