"""The Mahalanobis distance from the nearest class: at each layer, every class is a Gaussian with one shared shape."""

from __future__ import annotations

from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.detectors.activations import activations, hidden_layers, in_parts
from struthio.detectors.base import Detector
from struthio.detectors.logistic import Logistic


class Mahalanobis(Detector):
    """The distance min_c (f - m_c)' S^-1 (f - m_c) at each layer, weighed by logistic regression.

    f is a layer's activation, its mean over the places of a channel for pictures. With a magnitude, x is first moved a
    step towards the nearest class, x - magnitude * sign of the distance's slope, which parts the two sides further.

    Args:
        layers: at which; () takes all hidden layers.
        magnitude: of the step, in the units of x; 0 makes none.
        ridge: added to the covariance S, as a share of its mean variance; the paper takes a pseudo-inverse.
    """

    paper: ClassVar[str] = "Lee, Lee, Lee, Shin, 2018, arXiv 1807.03888"
    supervised = True

    def __init__(self, layers: tuple[str, ...] = (), magnitude: float = 0.0, ridge: float = 1e-3) -> None:
        super().__init__(layers)
        checks.not_negative(magnitude, "magnitude")
        checks.positive(ridge, "ridge")
        self.magnitude, self.ridge = magnitude, ridge
        self.judge = Logistic()

    def build(self, model: nn.Module) -> None:
        """Keep the model, and choose the layers where none were named."""
        super().build(model)
        self.layers = self.layers or hidden_layers(model, self.blank(model))

    def see(self, x: Tensor) -> list[Tensor]:
        """What each layer says, [n, channels] each."""
        return [
            said.flatten(2).mean(2) if said.ndim > 2 else said for said in activations(self.inside, self.layers, x)[1]
        ]

    def _one(self, number: int, x: Tensor) -> Tensor:
        return self.see(x)[number]

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        for number in range(len(self.layers)):
            seen = in_parts(partial(self._one, number), x).double()
            classes = y.unique()
            means = torch.stack([seen[y == label].mean(0) for label in classes])
            apart = seen - means[torch.searchsorted(classes, y)]
            cover = apart.T @ apart / len(apart)
            cover += self.ridge * cover.diagonal().mean().clamp(min=1e-12) * torch.eye(len(cover)).to(cover)
            whitener = torch.linalg.cholesky(torch.linalg.inv(cover))
            self.keep(**{f"means{number}": (means @ whitener).to(x), f"whitener{number}": whitener.to(x)})
        self.judge.fit(*(torch.cat([self.distances(part).detach() for part in side.split(500)]) for side in (x, x_adv)))

    def distances(self, x: Tensor) -> Tensor:
        """The distance from the nearest class at each layer, [n, layers]."""
        if not self.magnitude:
            return self._distances(x)
        with torch.enable_grad():
            here = x.detach().requires_grad_()
            slopes = [torch.autograd.grad(column.sum(), here, retain_graph=True)[0] for column in
                      self._distances(here).unbind(1)]  # fmt: skip
        moved = [x - self.magnitude * slope.sign() for slope in slopes]
        return torch.stack([self._distances(one)[:, number] for number, one in enumerate(moved)], 1)

    def _distances(self, x: Tensor) -> Tensor:
        found = []
        for number, said in enumerate(self.see(x)):
            white = said @ self.get_buffer(f"whitener{number}")
            found.append((white[:, None] - self.get_buffer(f"means{number}")).square().sum(2).amin(1))
        return torch.stack(found, 1)

    def score(self, x: Tensor) -> Tensor:
        """The log-odds of an adversarial row, [n]."""
        odds: Tensor = self.judge(self.distances(x))
        return odds
