"""Proves properties over boxes of inputs, which are halved as long as the bounds are too loose: for few inputs.

Bounds on halves are tighter, so a network of few inputs is decided in the end: Bunel et al., 2018, arXiv 1711.00455;
by inputs alone Wang et al., 2018, arXiv 1804.10829.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.certify.linear import bounded
from struthio.certify.network import Network
from struthio.certify.region import box_region
from struthio.certify.vnnlib import Case

SLACK = 1e-6  # of 1 + the size of the limit: by how much an inequality must fail to count as failed
BOXES = 512  # bounded at once


@dataclass(frozen=True)
class Proof:
    """What came of a search.

    Attributes:
        answer: "unsat" (no counterexample exists), "sat" or "unknown".
        example: the counterexample, [1, ...]; else None.
        parts: how many boxes, or parts of one, were bounded.
    """

    answer: str
    example: Tensor | None = None
    parts: int = 0


@torch.no_grad()
def by_halves(
    network: Network, case: Case, confirm: Callable[[Tensor], bool], until: float, boxes: int = BOXES
) -> Proof:
    """Whether a box holds a counterexample.

    Args:
        network: the operations.
        case: the box and what would be a counterexample.
        confirm: whether an input [1, ...] really is one, asked before "sat" is answered.
        until: when to stop, on the clock of `time.perf_counter`.
        boxes: how many are bounded at once.
    """
    shape = network.nodes[0].shape[1:]
    lows, highs = case.low.reshape(1, *shape), case.high.reshape(1, *shape)
    done = 0
    while len(lows):
        if time.perf_counter() > until:
            return Proof("unknown", None, done)
        low, high, lows, highs = lows[-boxes:], highs[-boxes:], lows[:-boxes], highs[:-boxes]
        left, steep, tries = _bound(network, case, low, high)
        done += len(low)
        for example in tries[case.badness(network(tries)) >= 0][:4]:
            if confirm(example.unsqueeze(0)):
                return Proof("sat", example.unsqueeze(0), done)
        if bool(left.any()):
            halves = _halved(low[left], high[left], steep[left])
            lows, highs = torch.cat([lows, halves[0]]), torch.cat([highs, halves[1]])
    return Proof("unsat", None, done)


def _bound(network: Network, case: Case, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Which boxes are not proved, how much each input matters there, and inputs that may be counterexamples."""
    state = bounded(network, box_region(low, high))
    weights = torch.cat([part.weights for part in case.unsafe])
    limits = torch.cat([part.limits for part in case.unsafe])
    rows = torch.arange(len(low)).repeat_interleave(len(weights))
    a, constant = state.line(weights.repeat(len(low), 1), rows)
    least = constant + state.region.lowest(a, rows)
    failed = least.unflatten(0, (len(low), -1)) > beyond(limits)
    ends = torch.tensor([len(part.limits) for part in case.unsafe]).cumsum(0).tolist()
    starts = [0, *ends[:-1]]
    impossible = torch.stack([failed[:, a:b].any(1) for a, b in zip(starts, ends, strict=True)], 1)
    left = ~impossible.all(1)
    half, middle = (high - low) / 2, (low + high) / 2
    slopes = a.unflatten(0, (len(low), -1)).squeeze(2)
    # A line may be flat along an input that its looseness comes from, so every input has a part in the mean.
    steep = slopes.abs().sum(1)
    steep = (steep + steep.flatten(1).mean(1).reshape(-1, *[1] * (steep.ndim - 1)) + 1e-12) * half
    lowest = (middle.unsqueeze(1) - slopes.sign() * half.unsqueeze(1))[left].flatten(0, 1)
    return left, steep, torch.cat([middle[left], lowest])


def beyond(limits: Tensor) -> Tensor:
    """What a value must be above to fail an inequality for certain."""
    return limits + SLACK * (1 + limits.abs())


def _halved(low: Tensor, high: Tensor, steep: Tensor) -> tuple[Tensor, Tensor]:
    """Both halves of each box, cut where an input matters most."""
    axis = steep.flatten(1).argmax(1, keepdim=True)
    flat_low, flat_high = low.flatten(1), high.flatten(1)
    middle = (flat_low.gather(1, axis) + flat_high.gather(1, axis)) / 2
    lows = torch.cat([flat_low, flat_low.scatter(1, axis, middle)])
    highs = torch.cat([flat_high.scatter(1, axis, middle), flat_high])
    return lows.reshape(-1, *low.shape[1:]), highs.reshape(-1, *high.shape[1:])
