"""Spectral norm regularisation: a penalty where a layer can stretch a change of its input by more than allowed.

The most that a network changes for a step of length 1 is at most the product of its layers' spectral norms (Szegedy et
al., 2013, arXiv 1312.6199, section 4.3).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from struthio import checks
from struthio.certify.lipschitz import convolution_norm
from struthio.train.layers import linear_layers, watched
from struthio.train.recipe import Moment, Recipe

NORMS = ("power", "exact")
FIRST = 20  # iterations when a layer is met for the first time


@dataclass(frozen=True)
class Spectral(Recipe):
    """J(x, y) + weight * sum over layers of max(0, sigma - most)^2, sigma the layer's norm as an operator.

    The norm is that of the layer as it works, with its stride and padding on inputs of their size: the norm of a
    reshaped kernel is another number. Layers are linear ones and convolutions; what a batch-norm stretches is not
    counted, and it can undo the penalty. Yoshida and Miyato penalise sigma^2 / 2 everywhere, with a weight of 0.01; a
    penalty beyond a bound alone is the form in which Szegedy et al. argue for it.

    Args:
        weight: of the penalty.
        most: the largest norm that costs nothing.
        norms: "power", one step of power iteration at each step of training, from the vector of the step before; this
            is a lower bound that has usually converged. "exact": by singular values, of two-dimensional convolutions
            by the Fourier transform, which wraps around and is an upper bound (Sedghi, Gupta, Long, 2019, arXiv
            1805.10408); layers for which that would be too dear, or which are neither, by power iteration.

    Raises:
        UserError: for a weight below 0, a bound that is not above 0, or other norms.
    """

    paper: ClassVar[str] = "Yoshida, Miyato, 2017, arXiv 1705.10941"

    weight: float = 0.1
    most: float = 1.0
    norms: str = "power"

    def __post_init__(self) -> None:
        checks.not_negative(self.weight, "weight")
        checks.positive(self.most, "most")
        checks.one_of(self.norms, NORMS, "norms")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The cross-entropy and the penalty."""
        with watched(model) as inputs:
            loss = F.cross_entropy(model(x), y)
        layers = linear_layers(model)
        for name, coming in inputs.items():
            with torch.autocast(x.device.type, enabled=False):
                sigma = self._norm(name, layers[name], coming.detach()[:1], moment)
                loss = loss + self.weight * (sigma - self.most).clamp(min=0).square()
        return loss

    def _norm(self, name: str, layer: nn.Module, like: Tensor, moment: Moment) -> Tensor:
        """The layer's norm on an input like this one [1, ...]."""
        exact = exact_norm(layer, like.shape) if self.norms == "exact" else None
        if exact is not None:
            return exact
        weight = next(layer.parameters())
        v = moment.kept.get(f"spectral.{name}")
        known = v is not None and v.shape == like.shape
        v = v.to(weight) if v is not None and known else torch.ones_like(like, dtype=weight.dtype).cumsum(-1).cos()
        sigma, v = power_norm(layer, v, 1 if known else FIRST)
        moment.kept[f"spectral.{name}"] = v
        return sigma


def exact_norm(layer: nn.Module, shape: torch.Size) -> Tensor | None:
    """The largest singular value of a linear layer, or of a convolution [1, in, h, w] that wraps around; else None."""
    if isinstance(layer, nn.Linear):
        norm: Tensor = torch.linalg.matrix_norm(layer.weight, 2)
        return norm
    if isinstance(layer, nn.Conv2d) and len(shape) == 4:
        around, step, far = layer.padding, list(layer.stride), list(layer.dilation)
        if isinstance(around, tuple) and layer.padding_mode == "zeros":
            return convolution_norm(layer.weight, tuple(shape[2:]), step, list(around), far, layer.groups)
    return None


def power_norm(layer: nn.Module, v: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The norm of an affine layer by power iteration: |A v| with its gradient for the weights, and v of length 1.

    Args:
        layer: a layer with a weight, and perhaps a bias, which is left out.
        v: where to start, [1, ...]; not zero.
        steps: how often v becomes A^T A v.
    """
    flat = {name: torch.zeros_like(value) for name, value in layer.named_parameters() if name == "bias"}
    with torch.enable_grad():
        for _ in range(steps):
            v = (v / v.norm()).detach().requires_grad_()
            out = functional_call(layer, flat, v)
            (v,) = torch.autograd.grad(out, v, out.detach())
    v = (v / v.norm().clamp(min=torch.finfo(v.dtype).tiny)).detach()
    return functional_call(layer, flat, v).norm(), v
