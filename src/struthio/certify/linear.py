"""Bounds through a network: intervals forward, lines backward.

Interval bounds: Gowal et al., 2018, arXiv 1810.12715. Linear bounds: Zhang, Weng, Chen, Hsieh, Daniel, 2018, arXiv
1811.00866 (CROWN); with intervals in the middle, Zhang et al., 2019, arXiv 1906.06316 (CROWN-IBP); with slopes that are
optimised, of the last bounds and of those in the middle, Xu et al., 2021, arXiv 2011.13824 (alpha-CROWN).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from struthio.certify.chosen import Chosen, tuned
from struthio.certify.cuts import Cuts
from struthio.certify.lines import Enclosure
from struthio.certify.network import Network, Node
from struthio.certify.patches import walk_back, walks
from struthio.certify.region import Region
from struthio.certify.relax import Greatest

Interval = tuple[Tensor, Tensor]
VALUES = 2**23  # coefficients held for one node at a time, 64 MB of them in double precision


@dataclass(frozen=True)
class Bounded:
    """A network over a region, with an interval for each value and lines around each nonlinear operation.

    Attributes:
        network: the operations.
        region: where each row may be, n rows.
        intervals: of every node, [n, 1, ...] each.
        enclosures: by the number of the nonlinear node.
        values: how many coefficients may be held at a time for one node.
        inner: steps of Adam on the slopes for every bound in the middle.
        until: when to do without these, on the clock of `time.perf_counter`.
        cuts: values that are held to one side of an edge, for each row.
    """

    network: Network
    region: Region
    intervals: list[Interval]
    enclosures: dict[int, Enclosure]
    values: int = VALUES
    inner: int = 0
    until: float = math.inf
    cuts: Cuts | None = None

    def lowest(self, a: Tensor, rows: Tensor, steps: int = 0) -> Tensor:
        """Lower bounds [m] of a . outputs.

        Args:
            a: coefficients of the outputs, [m, classes].
            rows: the row that each question is about, [m].
            steps: of Adam on the slopes of the lower lines, each question by itself; 0 takes them as they are.
        """
        end = len(self.network.nodes) - 1
        return self._in_parts(end, a.reshape(len(a), *self.network.nodes[end].shape), rows, steps)

    def by_intervals(self, a: Tensor, rows: Tensor) -> Tensor:
        """Lower bounds [m] of a . outputs as `lowest`, by intervals alone.

        The last affine operations are taken as one with a, which is less than bounding each output by itself.
        """
        number = len(self.network.nodes) - 1
        a, constant = a.reshape(len(a), *self.network.nodes[number].shape), a.new_zeros(len(a))
        while self.network.nodes[number].relaxation is None and len(self.network.nodes[number].sources) == 1:
            node = self.network.nodes[number]
            constant = constant + (a * node.offset).flatten(1).sum(1)
            (a,), (number,) = node.back(a), node.sources
        if number == 0:
            return constant + self.region.lowest(a, rows)
        low, high = self.intervals[number]
        middle, half = ((high + low) / 2)[rows], ((high - low) / 2)[rows]
        return constant + (a * middle - a.abs() * half).flatten(1).sum(1)

    def line(self, a: Tensor, rows: Tensor) -> tuple[Tensor, Tensor]:
        """The line below a . outputs: coefficients of the input, [m, 1, ...], and a constant, [m]."""
        end = len(self.network.nodes) - 1
        return self.walk(end, a.reshape(len(a), *self.network.nodes[end].shape), rows)

    def _in_parts(self, number: int, a: Tensor, rows: Tensor, steps: int) -> Tensor:
        parts = zip(a.split(self._at_once(steps)), rows.split(self._at_once(steps)), strict=True)
        return torch.cat([self._least(partial(self.below, number, part, which), steps) for part, which in parts])

    def _at_once(self, steps: int) -> int:
        return max(1, self.values // (self.network.widest * (4 if steps else 1)))

    def _least(self, bound: Callable[[Chosen | None], Tensor], steps: int) -> Tensor:
        return tuned(bound, steps, Chosen()) if steps else bound(None)

    def below(self, number: int, a: Tensor, rows: Tensor, chosen: Chosen | None = None) -> Tensor:
        """Lower bounds [m] of a . the values of a node, with these choices; None takes the lines as they are."""
        coefficients, constant = self.walk(number, a, rows, chosen)
        return constant + self.region.lowest(coefficients, rows)

    def walk(
        self, number: int, a: Tensor, rows: Tensor, chosen: Chosen | None = None, met: dict[int, Tensor] | None = None
    ) -> tuple[Tensor, Tensor]:
        """From coefficients of a node's value back through every node to those of the input, and a constant.

        Args:
            number: of the node.
            a: coefficients of its value, [m, 1, ...].
            rows: the row that each question is about, [m].
            chosen: slopes and multipliers.
            met: takes the coefficients of every nonlinear node's value.
        """
        waiting = {number: a}
        constant = a.new_zeros(len(a))
        for here in range(number, 0, -1):
            if here not in waiting:
                continue
            node, coming = self.network.nodes[here], waiting.pop(here)
            if chosen is not None and self.cuts is not None and here in self.cuts.nodes:
                cuts = self.cuts[rows]
                coming, more = cuts.hold(here, coming, chosen.multiplier(cuts.edges))
                constant = constant + more
            if node.relaxation is not None:
                if met is not None:
                    met[here] = coming.detach()
                turn = None if chosen is None else partial(chosen.slope, here)
                parts, more = self.enclosures[here].back(coming, rows, turn)
            else:
                parts, more = node.back(coming), (coming * node.offset).flatten(1).sum(1)
            constant = constant + more
            for source, part in zip(node.sources, parts, strict=True):
                waiting[source] = waiting[source] + part if source in waiting else part
        if number == 0:
            return a, constant
        if 0 not in waiting:
            return a.new_zeros(len(a), *self.network.nodes[0].shape), constant
        return waiting[0], constant

    def _single(self, number: int, rows: Tensor, places: Tensor, sign: float, chosen: Chosen | None) -> Tensor:
        """Lower bounds [m] of sign times single values of a node."""
        if walks(self.network, number):
            number, a, constant = walk_back(self.network, self.enclosures, number, rows, places, sign, chosen)
        else:
            shape = self.network.nodes[number].shape
            a = self.region.x.new_zeros(len(rows), shape.numel()).scatter_(1, places[:, None], sign).reshape(-1, *shape)
            constant = a.new_zeros(len(rows))
        return constant + self.below(number, a, rows, chosen)

    def part(self, rows: Tensor, cuts: Cuts) -> Bounded:
        """The same network over parts of its rows.

        Args:
            rows: of which row each part is, [k].
            cuts: what is known of each part, [k].
        """
        intervals = [(low[rows], high[rows]) for low, high in self.intervals]
        for node in cuts.nodes:
            intervals[node] = cuts.narrow(node, *intervals[node])
        enclosures = {
            number: node.relaxation.enclose(*intervals[node.sources[0]])
            for number, node in enumerate(self.network.nodes)
            if node.relaxation is not None
        }
        return Bounded(self.network, self.region[rows], intervals, enclosures, self.values, cuts=cuts)

    def narrowed(self, number: int) -> Interval:
        """The interval of a node, by linear bounds where the nonlinear operations that read it gain by them."""
        low, high = self.intervals[number]
        wanted = torch.zeros_like(low, dtype=torch.bool)
        for node in self.network.nodes:
            if node.relaxation is not None and number in node.sources:
                wanted |= node.relaxation.uncertain(low, high)
        rows, places = wanted.flatten(1).nonzero(as_tuple=True)
        if not len(rows):
            return low, high
        low, high = low.clone().flatten(1), high.clone().flatten(1)
        shape = self.network.nodes[number].shape
        size = self._at_once(self.inner)
        for sign, edge in ((1.0, low), (-1.0, high)):
            for row, place in zip(rows.split(size), places.split(size), strict=True):
                steps = self.inner if time.perf_counter() < self.until else 0
                found = sign * self._least(partial(self._single, number, row, place, sign), steps)
                edge[row, place] = (torch.maximum if sign > 0 else torch.minimum)(edge[row, place], found)
        # Two bounds of one number may cross by rounding alone.
        low, high = torch.minimum(low, high), torch.maximum(low, high)
        return low.reshape(-1, *shape), high.reshape(-1, *shape)


def bounded(
    network: Network,
    region: Region,
    linear: bool = True,
    values: int = VALUES,
    lines: bool = True,
    inner: int = 0,
    until: float = math.inf,
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
    """
    intervals: list[Interval] = [(region.low, region.high)]
    state = Bounded(network, region, intervals, {}, values, inner, until)
    mixed, done = [0], {0}
    for number, node in enumerate(network.nodes[1:], 1):
        if node.relaxation is None:
            intervals.append(_through(node, [intervals[source] for source in node.sources]))
            mixed.append(_mixed(node, mixed))
            continue
        source = node.sources[0]
        exact = mixed[source] <= 1 and region.eps is None  # the interval of one sum over a box is exact already
        if linear and not exact and source not in done:
            intervals[source] = state.narrowed(source)
            done.add(source)
        low, high = intervals[source]
        if lines or linear:
            state.enclosures[number] = node.relaxation.enclose(low, high)
        intervals.append(node.relaxation.interval(low, high))
        mixed.append(_mixed(node, mixed))
    return state


def _through(node: Node, intervals: list[Interval]) -> Interval:
    assert node.run is not None
    middle = torch.vmap(node.run)(*((low + high) / 2 for low, high in intervals))
    radius = node.radius(*((high - low) / 2 for low, high in intervals))
    return middle - radius, middle + radius


def _mixed(node: Node, mixed: list[int]) -> int:
    """How many sums of several values lie between the input and a node; two where they meet."""
    before = [mixed[source] for source in node.sources]
    return 2 if len(before) > 1 else before[0] + (node.mixes or isinstance(node.relaxation, Greatest))
