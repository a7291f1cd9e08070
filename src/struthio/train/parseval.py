"""Parseval networks: after each step every layer's weights move towards rows that are orthogonal and of length 1."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.train.layers import linear_layers
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class Parseval(Recipe):
    """J(x, y), with W <- (1 + beta) W - beta W W^T W after each step of the optimiser.

    This is a gradient step of length beta on |W^T W - I|^2 / 4: singular values move towards 1, which keeps each layer
    from stretching a change of its input. A convolution is the matrix [out, in * places] of its kernel, times the root
    of its places, since a step of the input is read at so many of them; the paper writes this for one dimension. Its
    averages of branches with weights that sum to 1 would be a change of the network and are not made here.

    Args:
        beta: how far the weights move; 0.001 in the paper, up to 0.01 for short training. Values above 1/2 do not
            converge.
        share: the share of rows drawn at each step, which alone move, as in the paper for speed; 1 moves all.
        last: whether the last layer is held as well. Where all layers are, outputs differ by no more than inputs do,
            and cross-entropy wants them further apart; a last layer left free sets the scale itself, and clean accuracy
            loses less.

    Raises:
        UserError: for a beta that is not above 0 or above 1/2, or a share outside (0, 1].
    """

    paper: ClassVar[str] = "Cisse, Bojanowski, Grave, Dauphin, Usunier, 2017, arXiv 1704.08847"

    beta: float = 0.001
    share: float = 1.0
    last: bool = True

    def __post_init__(self) -> None:
        checks.positive(self.beta, "beta")
        if self.beta > 0.5:
            raise checks.UserError(f"beta is {self.beta:g}; steps above 0.5 do not converge.")
        checks.share(self.share, "share")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy of the batch."""
        return F.cross_entropy(model(x), y)

    @torch.no_grad()
    def after_step(self, model: nn.Module, moment: Moment) -> None:
        """Every layer's weights nearer to a tight frame."""
        generator = torch.Generator().manual_seed(moment.step)
        layers = list(linear_layers(model).values())
        for layer in layers if self.last else layers[:-1]:
            weight = next(layer.parameters())
            if weight.requires_grad:
                groups = weight.unflatten(0, (getattr(layer, "groups", 1), -1))
                count = max(1, round(self.share * groups.shape[1]))
                rows = torch.randperm(groups.shape[1], generator=generator)[:count].to(weight.device)
                groups[:, rows] = retracted(groups[:, rows], self.beta)


def retracted(weight: Tensor, beta: float) -> Tensor:
    """(1 + beta) W - beta W W^T W of a layer's weight, [groups, out, in] or [groups, out, in, ...] for a kernel."""
    scale = math.sqrt(weight[0, 0, 0].numel())
    w = weight.flatten(2) * scale
    w = (1 + beta) * w - beta * (w @ w.mT) @ w
    return (w / scale).reshape(weight.shape)
