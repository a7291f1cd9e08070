"""Bounds on every value inside a network: intervals forward, narrowed by lines backward where that pays.

Interval bounds: Gowal et al., 2018, arXiv 1810.12715. Linear bounds: Zhang, Weng, Chen, Hsieh, Daniel, 2018, arXiv
1811.00866 (CROWN); with intervals in the middle, Zhang et al., 2019, arXiv 1906.06316 (CROWN-IBP); with slopes that are
optimised in the middle, too, Xu et al., 2021, arXiv 2011.13824 (alpha-CROWN).
"""

from __future__ import annotations

import math
import time
from dataclasses import replace

import torch
from torch import Tensor

from struthio.certify.backward import VALUES, Bounded, Interval
from struthio.certify.network import Network, Node
from struthio.certify.region import Region
from struthio.certify.relax import Greatest


def bounded(
    network: Network,
    region: Region,
    linear: bool = True,
    values: int = VALUES,
    lines: bool = True,
    inner: int = 0,
    until: float = math.inf,
    known: list[Interval] | None = None,
) -> Bounded:
    """Intervals of every node, and lines around every nonlinear one.

    Args:
        network: the operations.
        region: where each row may be.
        linear: whether linear bounds narrow the input of every nonlinear operation (CROWN); else intervals alone do.
        values: how many coefficients may be held at a time for one node.
        lines: whether lines are wanted at all; without them `by_intervals` alone can be asked.
        inner: steps of Adam on the slopes for every single bound in the middle, where linear bounds narrow.
        until: when to do without these, on the clock of `time.perf_counter`.
        known: intervals of every node that hold already, by lines as they are; only slopes are then looked for.
    """
    intervals: list[Interval] = [(region.low, region.high)]
    state = Bounded(network, region, intervals, {}, values)
    mixed, done = [0], {0}
    for number, node in enumerate(network.nodes[1:], 1):
        if node.relaxation is None:
            reach = _through(node, [intervals[source] for source in node.sources])
            intervals.append(_known(*reach, known[number] if known else None))
            mixed.append(_mixed(node, mixed))
            continue
        source = node.sources[0]
        exact = mixed[source] <= 1 and region.eps is None  # the interval of one sum over a box is exact already
        if linear and not exact and source not in done:
            rounds = ([] if known else [0]) + ([inner] if inner else [])
            intervals[source] = _narrowed(state, source, rounds, until)
            done.add(source)
        low, high = intervals[source]
        if lines or linear:
            state.enclosures[number] = node.relaxation.enclose(low, high)
        intervals.append(_known(*node.relaxation.interval(low, high), known[number] if known else None))
        mixed.append(_mixed(node, mixed))
    return state


def _narrowed(state: Bounded, number: int, rounds: list[int], until: float) -> Interval:
    """The interval of a node, by linear bounds where the nonlinear operations that read it gain by them.

    Each round takes more steps of Adam on the slopes, and those values alone that the one before has left uncertain.
    """
    low, high = (edge.clone(memory_format=torch.contiguous_format) for edge in state.intervals[number])
    state = replace(state)  # what it remembers in single precision is of the nodes so far
    for steps in rounds:
        rows, places = _uncertain(state.network, number, low, high)
        parts = zip(rows.split(state.at_once(steps)), places.split(state.at_once(steps)), strict=True)
        for row, place in parts if len(rows) else ():
            if steps and time.perf_counter() >= until:
                break
            for sign, edge, tighter in ((1.0, low, torch.fmax), (-1.0, high, torch.fmin)):
                edge = edge.flatten(1)  # a view
                found = sign * _of_values(state, number, row, place, sign, steps)
                edge[row, place] = tighter(edge[row, place], found)
    # Two bounds of one number may cross by rounding alone.
    return torch.minimum(low, high), torch.maximum(low, high)


def _uncertain(network: Network, number: int, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """The rows and places of values of a node whose narrower interval would give better lines somewhere."""
    wanted = torch.zeros_like(low, dtype=torch.bool)
    for node in network.nodes:
        if node.relaxation is not None and number in node.sources:
            wanted |= node.relaxation.uncertain(low, high)
    rows, places = wanted.flatten(1).nonzero(as_tuple=True)
    return rows, places


def _of_values(state: Bounded, number: int, rows: Tensor, places: Tensor, sign: float, steps: int) -> Tensor:
    """Lower bounds [m] of sign times single values of a node, with slopes that so many steps of Adam find."""
    if not steps:
        return state.of_values(number, rows, places, sign)
    return state.best(lambda own, chosen: own.of_values(number, rows, places, sign, chosen), steps)


def _known(low: Tensor, high: Tensor, before: Interval | None) -> Interval:
    """What both intervals have in common; infinite where infinite values have left no number to say."""
    low = low.nan_to_num(-torch.inf, torch.inf, -torch.inf)
    high = high.nan_to_num(torch.inf, torch.inf, -torch.inf)
    return (low, high) if before is None else (torch.maximum(low, before[0]), torch.minimum(high, before[1]))


def _through(node: Node, intervals: list[Interval]) -> Interval:
    assert node.run is not None
    middle = torch.vmap(node.run)(*((low + high) / 2 for low, high in intervals))
    radius = node.radius(*((high - low) / 2 for low, high in intervals))
    return middle - radius, middle + radius


def _mixed(node: Node, mixed: list[int]) -> int:
    """How many sums of several values lie between the input and a node; two where they meet."""
    before = [mixed[source] for source in node.sources]
    return 2 if len(before) > 1 else before[0] + (node.mixes or isinstance(node.relaxation, Greatest))
