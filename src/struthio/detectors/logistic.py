"""Logistic regression on a few scores: how several signs of an adversarial row become one."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.detectors.base import Fitted


class Logistic(Fitted):
    """A weighted sum of standardised features, fitted by Newton's method with a small ridge; both sides weigh alike.

    Args:
        ridge: the weight of the squared coefficients, so that classes that can be parted keep finite ones.
        steps: of Newton's method.
    """

    mean: Tensor
    scale: Tensor
    weight: Tensor

    def __init__(self, ridge: float = 1e-2, steps: int = 30) -> None:
        super().__init__()
        self.ridge, self.steps = ridge, steps

    @torch.no_grad()
    def fit(self, clean: Tensor, adversarial: Tensor) -> None:
        """Learn from features of clean rows [n, k] and of adversarial ones [m, k]."""
        both = torch.cat([clean, adversarial]).double()
        mean, scale = both.mean(0), both.std(0).clamp(min=1e-12)
        a = self._with_one((both - mean) / scale)
        target = torch.cat([torch.zeros(len(clean)), torch.ones(len(adversarial))]).to(a)
        share = torch.cat([a.new_full((len(part),), 0.5 / len(part)) for part in (clean, adversarial)])
        ridge = self.ridge * torch.eye(a.shape[1], dtype=a.dtype, device=a.device)
        ridge[-1, -1] = 1e-9  # the offset is free
        weight = a.new_zeros(a.shape[1])
        for _ in range(self.steps):
            p = (a @ weight).sigmoid()
            slope = a.T @ (share * (p - target)) + ridge @ weight
            bend = (a * (share * p * (1 - p))[:, None]).T @ a + ridge
            weight = weight - torch.linalg.solve(bend, slope)
        self.keep(mean=mean.to(clean), scale=scale.to(clean), weight=weight.to(clean))

    def forward(self, features: Tensor) -> Tensor:
        """The log-odds of an adversarial row, [n]."""
        return self._with_one((features - self.mean) / self.scale) @ self.weight

    def _with_one(self, features: Tensor) -> Tensor:
        return torch.cat([features, torch.ones_like(features[:, :1])], 1)
