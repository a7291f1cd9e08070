"""MagNet's detectors: how much of a picture an autoencoder loses, and how much of the model's answer with it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.magnet import Reformer
from struthio.defenses.training import USUAL, Course
from struthio.detectors.base import Detector


class _MagNet(Detector):
    """What both share: an autoencoder `net` of clean pictures. It is one of its own, never the reformer itself.

    Args:
        structure: of the autoencoder, see `Reformer`.
        noise: the standard deviation of the noise that it is trained with.
        course: how long and how fast it is trained; the seed is drawn from the generator of `fit`.
    """

    paper: ClassVar[str] = Reformer.paper

    def __init__(self, structure: Sequence[int | str], noise: float, course: Course) -> None:
        super().__init__()
        checks.not_negative(noise, "noise")
        self.structure, self.noise, self.course = tuple(structure), noise, course
        self.net = cast(nn.Module, nn.Identity())

    def build(self, model: nn.Module) -> None:
        """The autoencoder, for pictures of these channels."""
        super().build(model)
        if len(self.shape) != 3:
            raise UserError(f"{type(self).__name__} takes pictures [n, channels, h, w]; a row has shape {self.shape}.")
        self.net = Reformer(self.shape[0], self.structure).requires_grad_(False).eval()

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        course = replace(self.course, seed=int(torch.randint(2**62, ())))
        net = cast(Reformer, self.net).requires_grad_(True)
        net.fit(x, noise=self.noise, course=course).requires_grad_(False)


class ReconstructionError(_MagNet):
    """The mean of |x - ae(x)|^p over a picture's values: far from what is usual, more is lost.

    Args:
        p: 1 or 2 as published.
        structure: of the autoencoder; published for digits: (3, "average", 3) and (3,).
        noise: the standard deviation of the noise that it is trained with.
        course: how long and how fast it is trained.
    """

    looks: ClassVar[bool] = False

    def __init__(
        self,
        p: float = 1.0,
        structure: Sequence[int | str] = (16, "average", 16),
        noise: float = 0.1,
        course: Course = USUAL,
    ) -> None:
        super().__init__(structure, noise, course)
        checks.positive(p, "p")
        self.p = p

    def score(self, x: Tensor) -> Tensor:
        """The mean of |x - ae(x)|^p, [n]."""
        lost: Tensor = (x - self.net(x)).abs().pow(self.p)
        return lost.flatten(1).mean(1)


class ReconstructionDivergence(_MagNet):
    """The Jensen-Shannon divergence of what the model says of x and of ae(x), at a temperature.

    Args:
        temperature: logits are divided by it, so that a sure model still shows what changes; published: 10 and 40.
        structure: of the autoencoder.
        noise: the standard deviation of the noise that it is trained with.
        course: how long and how fast it is trained.
    """

    def __init__(
        self,
        temperature: float = 10.0,
        structure: Sequence[int | str] = (16, "average", 16),
        noise: float = 0.1,
        course: Course = USUAL,
    ) -> None:
        super().__init__(structure, noise, course)
        checks.positive(temperature, "temperature")
        self.temperature = temperature

    def score(self, x: Tensor) -> Tensor:
        """The divergence, [n], from 0 to log 2."""
        assert self.model is not None
        said, again = (self.model(each).div(self.temperature).log_softmax(1) for each in (x, self.net(x)))
        return jensen_shannon(said, again)


def jensen_shannon(p: Tensor, q: Tensor) -> Tensor:
    """The Jensen-Shannon divergence of distributions given as logarithms [n, classes], [n]."""
    middle = torch.logaddexp(p, q) - math.log(2)
    return (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(1) / 2
