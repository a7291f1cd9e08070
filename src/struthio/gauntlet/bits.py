"""How much rounding to black and white leaves to an adversary: a search over all values that can cross the middle."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from struthio.detectors.guarded import Guarded
from struthio.losses import Margin
from struthio.rows import RowGenerator, as_generator, where_rows
from struthio.types import Model, Threat

STARTS, STEPS = 4, 60
MOST, REST = 8, 5  # values flipped at the first step, and steps for which a flipped one stays as it is


def movable(x: Tensor, eps: float) -> Tensor:
    """Which values in [0, 1] a change of at most eps can carry to either side of one half, bool [n, ...]."""
    return (x - 0.5).abs() <= eps


def best_bits(
    model: Model, x: Tensor, labels: Tensor, eps: float, generator: int | RowGenerator = 0
) -> tuple[Tensor, Tensor]:
    """Of the black-and-white pictures that rounding can make of what lies within eps: those that fool a model most.

    Four searches a row, one from the rounded row itself and three from random bits: at each of 60 steps the values
    with the largest first-order gain are flipped, eight at first and one at last, even where that is a loss, and rest.

    Args:
        model: from a batch to logits [n, classes].
        x: rows [n, ...] in [0, 1].
        labels: their classes, int64 [n].
        eps: how far a value may move.
        generator: a seed, or the rows' random numbers.

    Returns:
        The pictures [n, ...] of zeros and ones, and their margins [n]: the largest other logit less that of the label.
    """
    rows = as_generator(generator, x)
    best, best_margin = x.round(), torch.full((len(x),), -torch.inf).to(x)
    for start in range(STARTS):
        random = (rows.fold(start).uniform(x.shape[1:], x.dtype) < 0.5).to(x)
        bits = torch.where(movable(x, eps), random, x.round()) if start else x.round()
        found, margin = _climb(model, bits, labels, movable(x, eps))
        best, best_margin = where_rows(margin > best_margin, found, best), margin.maximum(best_margin)
    return best, best_margin


def _climb(model: Model, bits: Tensor, labels: Tensor, free: Tensor) -> tuple[Tensor, Tensor]:
    """One search: the best picture on its way, and its margin."""
    best, best_margin = bits, torch.full((len(bits),), -torch.inf).to(bits)
    until = torch.zeros(bits[0].numel(), dtype=torch.long, device=bits.device).repeat(len(bits), 1)
    for step in range(STEPS):
        with torch.enable_grad():
            here = bits.detach().requires_grad_()
            score = Margin().away(model(here), labels)
            (slope,) = torch.autograd.grad(score.sum(), here)
        margin = score.detach()
        best, best_margin = where_rows(margin > best_margin, bits, best), margin.maximum(best_margin)
        gain = (slope * (1 - 2 * bits)).flatten(1).masked_fill(~free.flatten(1) | (until > step), -torch.inf)
        most = gain.topk(max(1, int(MOST * (1 - step / STEPS) ** 2)), dim=1)
        flip = (most.values > 0) | (most.values == gain.amax(1, keepdim=True)) & most.values.isfinite()
        flat = bits.flatten(1)
        bits = flat.scatter(1, most.indices, (flat.gather(1, most.indices) - flip.to(flat)).abs()).reshape(bits.shape)
        until = until.scatter(1, most.indices, torch.where(flip, step + REST, 0))
    return best, best_margin


@torch.no_grad()
def out_of_reach(model: nn.Module, x: Tensor, labels: Tensor, threat: Threat) -> Tensor:
    """Rows that no attack brings past the gap between an input and its rounding to one bit, as far as the search shows.

    What falls has a class t that beats the label y, while its probabilities are at most the threshold away from those
    of its rounding, in L1. So p_y - p_t at the rounding is at most the threshold; where that is true of none of the
    pictures of zeros and ones, the row cannot fall.

    Args:
        model: a network behind a `SqueezingGap` whose first squeezer rounds to one bit.
        x: rows [n, ...].
        labels: their classes [n].
        threat: Linf.
    """
    guarded = cast(Guarded, model)
    bits, _ = best_bits(guarded.model, x, labels, float(threat.eps))
    probabilities = guarded.model(bits).softmax(1)
    return Margin().away(probabilities, labels) < -guarded.detector.threshold
