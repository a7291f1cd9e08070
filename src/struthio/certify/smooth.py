"""Smooth activations, between lines whose heights are checked along the whole interval.

A function whose slope changes by at most `bend_most` a unit stays, between two points a distance h apart, above the
lower of its two values less bend_most * h^2 / 8. So the least of f(x) - slope * x over an interval is known from a few
dozen points, and a line of any slope can be laid under f. Of several slopes that line is taken which is highest in the
middle: it leaves the least area between itself and f.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio.certify.lines import Lines

STEPS = 48  # into which an interval is divided
AT_ONCE = 2**14  # intervals whose points are held at a time


@dataclass(frozen=True)
class Smooth:
    """A function of one value.

    Args:
        function: elementwise.
        bend_most: the most that its slope changes for a step of length 1, but for kinks.
        steepest: its largest absolute slope.
        turns: where it changes from falling to rising, or back.
        kinks: where its slope jumps.
        strays: by how much it may lie below the smooth function that it stands for.
    """

    function: Callable[[Tensor], Tensor]
    bend_most: float
    steepest: float = 1.0
    turns: tuple[float, ...] = ()
    kinks: tuple[float, ...] = ()
    strays: float = 0.0

    def __call__(self, x: Tensor) -> Tensor:
        """The function."""
        return self.function(x)

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The extremes among both ends and the turns between them."""
        seen = torch.stack([self(low), self(high), *(self(low.clamp(min=turn).minimum(high)) for turn in self.turns)])
        strays = self.strays * (high > low)
        return seen.amin(0) - strays, seen.amax(0) + strays

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Everywhere: a narrower interval always gives better lines."""
        return high > low

    def bend(self, low: Tensor, high: Tensor) -> Tensor:
        """The middle."""
        return (low + high) / 2

    def enclose(self, low: Tensor, high: Tensor) -> Lines:
        """The lower line that is highest in the middle, and the upper one that is lowest there."""
        parts = zip(low.flatten().split(AT_ONCE), high.flatten().split(AT_ONCE), strict=True)
        below, below_at, above, above_at = torch.cat([self._lines(*part) for part in parts], 1).unflatten(1, low.shape)
        return Lines(below, below_at, above, above_at)

    def _lines(self, low: Tensor, high: Tensor) -> Tensor:
        """Slopes and heights of the lower lines, and of the upper ones, [4, m]."""
        shares = torch.linspace(0, 1, STEPS + 1, dtype=low.dtype, device=low.device)[:, None]
        points = (1 - shares) * low + shares * high
        kinks = [low.clamp(min=kink).minimum(high) for kink in self.kinks]
        values = self(torch.cat([points, *(kink[None] for kink in kinks)]))
        lost = self.bend_most / 8 * ((high - low) / STEPS).square() + self.strays * (high > low)
        least, most = self.interval(low, high)
        below, below_at = _under(points, values, kinks, lost, least)
        above, above_at = _under(points, -values, kinks, lost, -most)
        return torch.stack([below, below_at, -above, -above_at])


def _under(points: Tensor, values: Tensor, kinks: list[Tensor], lost: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
    """The slope and the height at 0 of a line under values that were seen at points [k, m] and at kinks behind them.

    Where an interval is so wide that its points say little, that is the flat line at the least value.
    """
    rises, steps = values[: len(points)], points.diff(dim=0).mean(0)
    wide = steps > 1e-9  # a slope between two almost equal numbers would be rounding alone
    counts = torch.arange(1, len(points), device=points.device, dtype=points.dtype)[:, None]
    from_low = ((rises[1:] - rises[0]) / counts).amin(0)
    from_high = ((rises[-1] - rises[:-1]) / counts.flip(0)).amax(0)
    half = len(points) // 2
    tangent = (rises[half + 1] - rises[half - 1]) / 2
    slopes = torch.stack([tangent, from_low, from_high]) / torch.where(wide, steps, torch.inf)
    seen = torch.cat([points, *(kink[None] for kink in kinks)])
    heights = torch.stack([(values - slope * seen).amin(0) for slope in slopes]) - lost
    slopes, heights = torch.cat([slopes, torch.zeros_like(least)[None]]), torch.cat([heights, least[None]])
    best = (slopes * points[half] + heights).argmax(0, keepdim=True)
    return slopes.gather(0, best)[0], heights.gather(0, best)[0]


def _bent(x: Tensor, alpha: float, scale: float, inner: float) -> Tensor:
    return torch.where(x > 0, scale * x, scale * alpha * torch.expm1(inner * x.clamp(max=0)))


def elu(alpha: float = 1.0, scale: float = 1.0, inner: float = 1.0) -> Smooth:
    """ELU, SELU and CELU: scale * x above 0, scale * alpha * (exp(inner * x) - 1) below, inner not negative."""
    sides = (abs(scale), abs(scale * alpha * inner))
    turns = () if alpha * inner >= 0 else (0.0,)
    function = partial(_bent, alpha=float(alpha), scale=float(scale), inner=float(inner))
    return Smooth(function, sides[1] * abs(inner), max(sides), turns, (0.0,))


def softplus(beta: float = 1.0, threshold: float = 20.0) -> Smooth:
    """log(1 + exp(beta * x)) / beta, and x where beta * x is above the threshold, which is a step of 2e-9 at 20."""
    step = math.log1p(math.exp(-threshold)) / abs(beta) if threshold > -700 else math.inf
    steepest = 1.0 if step < 1e-6 else math.inf
    return Smooth(
        partial(F.softplus, beta=float(beta), threshold=float(threshold)), abs(beta) / 4, steepest, strays=step
    )


def gelu(approximate: str = "none") -> Smooth:
    """X times the normal distribution function, or its approximation by a hyperbolic tangent."""
    turn = -0.7517915246935645 if approximate == "none" else -0.7524614220710162
    return Smooth(partial(F.gelu, approximate=approximate), math.sqrt(2 / math.pi), 1.13, (turn,))


SIGMOID = Smooth(torch.sigmoid, 1 / (6 * math.sqrt(3)), 0.25)
TANH = Smooth(torch.tanh, 4 / (3 * math.sqrt(3)))
SILU = Smooth(F.silu, 0.5, 1.1, (-1.2784645427610738,))
MISH = Smooth(F.mish, 0.65, 1.09, (-1.1924312145154952,))
HARDSWISH = Smooth(F.hardswish, 1 / 3, 1.5, (-1.5,), (-3.0, 3.0))
HARDSIGMOID = Smooth(F.hardsigmoid, 0.0, 1 / 6, (), (-3.0, 3.0))
