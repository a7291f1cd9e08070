"""Slopes from queries alone: the model is asked about points near z, and nothing flows back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio import checks
from struthio.rows import RowGenerator, per_row
from struthio.types import Model


@dataclass(frozen=True)
class Estimated:
    """The slope estimated from score queries.

    Args:
        method: "nes", antithetic Gaussian directions (Ilyas et al., 2018, arXiv 1804.08598); "spsa", random signs
            (Spall, 1992; Uesato et al., 2018, arXiv 1802.05666); "finite", central differences along every coordinate.
        samples: how many directions, each asked about twice ("finite" asks twice about each coordinate instead).
        sigma: how far from z the questions are, in the units of the input.
    """

    method: str = "nes"
    samples: int = 50
    sigma: float = 0.01

    def __post_init__(self) -> None:
        checks.one_of(self.method, ("nes", "spsa", "finite"), "method")
        checks.count(self.samples, "samples")
        checks.positive(self.sigma, "sigma")

    @torch.no_grad()
    def __call__(
        self,
        model: Model,
        see: Callable[[Tensor], Tensor],
        z: Tensor,
        score: Callable[[Tensor], Tensor],
        generator: RowGenerator,
    ) -> tuple[Tensor, Tensor]:
        """The estimated slope at z, and the outputs there."""
        outputs = model(see(z))
        grad = torch.zeros_like(z)
        count = z[0].numel() if self.method == "finite" else self.samples
        for index in range(count):
            way = self._direction(z, index, generator)
            up, down = (score(model(see(z + side * self.sigma * way))) for side in (1, -1))
            grad += per_row((up - down) / (2 * self.sigma), z) * way
        return (grad if self.method == "finite" else grad / count), outputs

    def _direction(self, z: Tensor, index: int, generator: RowGenerator) -> Tensor:
        if self.method == "nes":
            return generator.normal(z.shape[1:], z.dtype)
        if self.method == "spsa":
            return (generator.uniform(z.shape[1:], z.dtype) < 0.5).to(z.dtype) * 2 - 1
        way = torch.zeros_like(z)
        way.flatten(1)[:, index] = 1
        return way
