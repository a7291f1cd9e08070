"""How often a random model has to be asked before its slope, and the verdict about a row, stand still."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from struthio.attacks.base import no_trace
from struthio.audit.doubts.probe import Probe, SoftMargin, cosine
from struthio.audit.judge import majority
from struthio.gradients import Averaged
from struthio.rows import RowGenerator
from struthio.types import Goal, Gradient, Model

SAMPLES = (5, 10, 20, 40)
DRAWS = (11, 21, 41)  # odd, so that there is always a majority


def steady_samples(probe: Probe, gradient: Gradient) -> tuple[int, float]:
    """The fewest draws whose mean slope agrees with that of as many others (cosine 0.9), and that cosine (median)."""
    see, score = partial(probe.threat.apply, probe.x), partial(probe.goal.score, SoftMargin())
    zero = probe.threat.zero(probe.x)
    for samples in SAMPLES:
        means = []
        for own in (probe.generator.fold(500), probe.generator.fold(501)):
            with no_trace(own):
                means.append(Averaged(gradient, samples)(probe.model, see, zero, score, own)[0])
        agreed = float(cosine(*means).median())
        if agreed >= 0.9:
            break
    return samples, agreed


def steady_draws(model: Model, x: Tensor, goal: Goal, generator: RowGenerator) -> tuple[int, float]:
    """The fewest draws whose majority agrees with that of as many others on 95 % of the rows, and that share."""
    for draws in DRAWS:
        first, second = (majority(model, x, goal, draws, generator.fold(half)) for half in range(2))
        agreed = float((first == second).double().mean())
        if agreed >= 0.95:
            break
    return draws, agreed
