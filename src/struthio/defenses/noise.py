"""Gaussian noise, at training and at test."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.defenses.base import Defense


class GaussianNoise(Defense):
    """Adds Gaussian noise on every call, in training and in evaluation mode alike.

    Gu, Rigazio, 2014, arXiv 1412.5068, add it to the input at test. The result is not clipped. With a network trained
    under the same noise and a majority of many draws it is randomised smoothing, which certifies (`SmoothedModel`);
    before convolutions it is RSE (`RSE`).

    Args:
        sigma: the standard deviation, in the units of what passes through.
    """

    paper: ClassVar[str] = "Gu, Rigazio, 2014, arXiv 1412.5068"
    random = True

    def __init__(self, sigma: float = 0.1) -> None:
        super().__init__()
        checks.positive(sigma, "sigma")
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        """X [n, ...] with fresh noise on every value."""
        return x + self.sigma * torch.randn_like(x)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"sigma={self.sigma:g}"
