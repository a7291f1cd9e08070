"""Distances between rows, squared, without a gradient that breaks at zero."""

from __future__ import annotations

import torch
from torch import Tensor


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """|a_i - b_j|^2, [n, m], never below 0."""
    mixed = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T
    return mixed.clamp(min=0)


def local_dimension(a: Tensor, reference: Tensor, neighbours: int) -> Tensor:
    """The local intrinsic dimensionality of each row among reference rows, [n], by the estimator of maximum likelihood.

    LID = -1 / mean_i log(r_i / r_k), over the k nearest distances r_1 to r_k (Amsaleg et al., 2015).
    """
    nearest = squared_distances(a, reference).topk(neighbours, largest=False, sorted=True).values
    logs = nearest.clamp(min=torch.finfo(a.dtype).tiny ** 0.5).log() / 2
    return -1 / (logs - logs[:, -1:]).mean(1).clamp(max=-1e-6)
