"""Decides a property: halves of boxes where inputs are few, cuts inside the network where they are many."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from torch import Tensor

from struthio.certify.backward import Bounded
from struthio.certify.branch import Search
from struthio.certify.linear import bounded
from struthio.certify.network import Network
from struthio.certify.region import box_region
from struthio.certify.split import Proof, beyond, by_halves
from struthio.certify.vnnlib import Case

FEW = 32  # inputs up to which boxes are halved
INNER = 8  # steps of Adam for each bound in the middle
SHARE = 0.4  # of the time, which these may take
PARTS = 1_000_000  # a question; the time is up before


@torch.no_grad()
def prove(network: Network, case: Case, confirm: Callable[[Tensor], bool], until: float) -> Proof:
    """Whether a box holds a counterexample.

    Args:
        network: the operations.
        case: the box and what would be a counterexample.
        confirm: whether an input [1, ...] really is one, asked before "sat" is answered.
        until: when to stop, on the clock of `time.perf_counter`.
    """
    way = by_halves if case.low.numel() <= FEW else by_cuts
    return way(network, case, confirm, until)


def by_cuts(network: Network, case: Case, confirm: Callable[[Tensor], bool], until: float) -> Proof:
    """The same by cuts alone; of each conjunction the one inequality is looked at that fails by most at first."""
    shape, start = network.nodes[0].shape[1:], time.perf_counter()
    region = box_region(case.low.reshape(1, *shape), case.high.reshape(1, *shape))
    state = bounded(network, region)
    a, limits = _likely(state, case)
    if bool((_least(state, a) > limits).all()):
        return Proof("unsat", None, 1)
    state = bounded(network, region, inner=INNER, until=start + SHARE * (until - start))
    left = _least(state, a) <= limits
    answer = Search(state, a[left], limits.new_zeros(int(left.sum())).long(), limits[left]).run(PARTS, until)
    for x in answer.points:
        if confirm(x):
            return Proof("sat", x, int(answer.parts.sum()))
    return Proof("unsat" if bool((answer.lower > limits[left]).all()) else "unknown", None, int(answer.parts.sum()))


def _least(state: Bounded, a: Tensor) -> Tensor:
    return state.lowest(a, torch.zeros(len(a), dtype=torch.int64))


def _likely(state: Bounded, case: Case) -> tuple[Tensor, Tensor]:
    """Of each conjunction the inequality whose failing is nearest to be proved: its weights, and what is beyond it."""
    best = []
    for part in case.unsafe:
        limits = beyond(part.limits)
        most = int((_least(state, part.weights) - limits).argmax())
        best.append((part.weights[most], limits[most]))
    return torch.stack([weights for weights, _ in best]), torch.stack([limit for _, limit in best])
