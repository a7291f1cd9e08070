"""Slopes averaged: over a model's own randomness (EOT), or over noise around the point."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from struthio import checks
from struthio.gradients.autograd import Autograd
from struthio.rows import RowGenerator
from struthio.types import Gradient, Model


@dataclass(frozen=True)
class Averaged:
    """The mean slope over several draws of a random model: expectation over transformation, EOT.

    Athalye, Engstrom, Ilyas, Kwok, 2018, arXiv 1707.07397; for random defences Athalye, Carlini, Wagner, 2018, arXiv
    1802.00420. The losses are averaged, not the logits.

    Args:
        inner: how each slope is found.
        samples: how many draws.
    """

    inner: Gradient = field(default_factory=Autograd)
    samples: int = 20

    def __post_init__(self) -> None:
        checks.count(self.samples, "samples")

    def __call__(
        self,
        model: Model,
        see: Callable[[Tensor], Tensor],
        z: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: RowGenerator,
    ) -> tuple[Tensor, Tensor]:
        """The mean slope and the mean outputs."""
        return _mean([self.inner(model, see, z, score, generator) for _ in range(self.samples)])


@dataclass(frozen=True)
class Smoothed:
    """The mean slope over Gaussian noise around the point, for slopes that are shattered.

    Args:
        inner: how each slope is found.
        sigma: the standard deviation of the noise, in the units of the input.
        samples: how many noisy points.
    """

    inner: Gradient = field(default_factory=Autograd)
    sigma: float = 0.05
    samples: int = 20

    def __post_init__(self) -> None:
        checks.count(self.samples, "samples")
        checks.positive(self.sigma, "sigma")

    def __call__(
        self,
        model: Model,
        see: Callable[[Tensor], Tensor],
        z: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: RowGenerator,
    ) -> tuple[Tensor, Tensor]:
        """The mean slope around z, and the outputs at z itself."""
        noise = (self.sigma * generator.normal(z.shape[1:], z.dtype) for _ in range(self.samples))
        grad, _ = _mean([self.inner(model, see, z + d, score, generator) for d in noise])
        with torch.no_grad():
            return grad, model(see(z))


def _mean(slopes: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    grads, outputs = zip(*slopes, strict=True)
    return torch.stack(grads).mean(0), torch.stack(outputs).mean(0)
