"""The small networks of the board, and parts to build them from."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor, nn

from struthio import zoo

Unit = Callable[[], nn.Module]
CODE = 32  # channels after two convolutions


@lru_cache(maxsize=2)
def shipped(name: str) -> nn.Module:
    """A network of the zoo."""
    return zoo.load(name)


def plain() -> nn.Module:
    """The digits network that was trained plainly."""
    return shipped("digits-cnn")


def features(unit: Unit = nn.ReLU, channels: int = 1) -> nn.Sequential:
    """Two strided convolutions: [n, channels, 28, 28] to [n, 32, 7, 7]."""
    return nn.Sequential(nn.Conv2d(channels, 16, 4, 2, 1), unit(), nn.Conv2d(16, CODE, 4, 2, 1), unit())


def network(unit: Unit = nn.ReLU, channels: int = 1, outputs: int = 10, dropout: float = 0.0) -> nn.Sequential:
    """A small digits network: [n, channels, 28, 28] to [n, outputs]."""
    head = (nn.Flatten(), nn.Linear(CODE * 49, 100), unit(), nn.Dropout(dropout), nn.Linear(100, outputs))
    return nn.Sequential(*features(unit, channels), *head)


def autoencoder() -> nn.Sequential:
    """The same convolutions, and back: pictures to pictures."""
    back = (nn.ConvTranspose2d(CODE, 16, 4, 2, 1), nn.ReLU(), nn.ConvTranspose2d(16, 1, 4, 2, 1), nn.Sigmoid())
    return nn.Sequential(*features(), *back)


class Maxout(nn.Module):
    """The larger of two halves of the channels (Goodfellow et al., 2013, arXiv 1302.4389)."""

    def forward(self, u: Tensor) -> Tensor:
        """Half as many channels."""
        return torch.maximum(*u.chunk(2, 1))


def maxout() -> nn.Sequential:
    """A small digits network of maxout units."""
    convolutions = (nn.Conv2d(1, 32, 4, 2, 1), Maxout(), nn.Conv2d(16, 2 * CODE, 4, 2, 1), Maxout())
    return nn.Sequential(*convolutions, nn.Flatten(), nn.Linear(CODE * 49, 200), Maxout(), nn.Linear(100, 10))
