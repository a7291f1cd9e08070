"""Lines backward through a network: from a question about its outputs to a line below them over the region of a row.

Zhang, Weng, Chen, Hsieh, Daniel, 2018, arXiv 1811.00866 (CROWN); with slopes that are optimised, Xu et al., 2021, arXiv
2011.13824 (alpha-CROWN). Slopes are looked for in single precision. Every choice of them gives a bound, so it is enough
that the last walk, with what was found, is in double.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial

import torch
from torch import Tensor

from struthio.certify.chosen import Chosen, tuned
from struthio.certify.cuts import Cuts
from struthio.certify.lines import Enclosure
from struthio.certify.network import Network
from struthio.certify.patches import walk_back, walks
from struthio.certify.region import Region

Interval = tuple[Tensor, Tensor]
Question = Callable[["Bounded", Chosen], Tensor]  # lower bounds [m] with these choices
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
        cuts: values that are held to one side of an edge, for each row.
    """

    network: Network
    region: Region
    intervals: list[Interval]
    enclosures: dict[int, Enclosure]
    values: int = VALUES
    cuts: Cuts | None = None

    def lowest(self, a: Tensor, rows: Tensor, steps: int = 0) -> Tensor:
        """Lower bounds [m] of a . outputs.

        Args:
            a: coefficients of the outputs, [m, classes].
            rows: the row that each question is about, [m].
            steps: of Adam on the slopes of the lower lines, each question by itself; 0 takes them as they are.
        """
        size, end = self.at_once(steps), len(self.network.nodes) - 1
        a = a.reshape(len(a), *self.network.nodes[end].shape)
        parts = zip(a.split(size), rows.split(size), strict=True)
        return torch.cat([self._lowest(end, part, of, steps) for part, of in parts])

    def _lowest(self, number: int, a: Tensor, rows: Tensor, steps: int) -> Tensor:
        """The better of the bounds with the lines as they are, and with slopes that are looked for."""
        plain = self.below(number, a, rows)
        if not steps:
            return plain
        return torch.maximum(plain, self.best(lambda state, chosen: state.below(number, a, rows, chosen), steps))

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

    @torch.no_grad()
    def best(self, question: Question, steps: int) -> Tensor:
        """Lower bounds with the slopes that so many steps of Adam find in single precision."""
        chosen = tuned(partial(question, self.single), steps, Chosen())
        return question(self, chosen.to(self.region.x))

    def at_once(self, steps: int) -> int:
        """How many questions may be asked at a time."""
        return max(1, self.values // (self.network.widest * (4 if steps else 1)))

    @cached_property
    def single(self) -> Bounded:
        """The same in single precision: good enough to look for choices, and no proof."""
        network, like = self.network.single, self.network.single.nodes[0].like
        intervals = [(low.to(like), high.to(like)) for low, high in self.intervals]
        cuts = None if self.cuts is None else self.cuts.to(like)
        return Bounded(network, self.region.to(like), intervals, _lines(network, intervals), self.values, cuts)

    def below(self, number: int, a: Tensor, rows: Tensor, chosen: Chosen | None = None) -> Tensor:
        """Lower bounds [m] of a . the values of a node, with these choices; None takes the lines as they are."""
        coefficients, constant = self.walk(number, a.to(self.region.x), rows, chosen)
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

    def of_values(self, number: int, rows: Tensor, places: Tensor, sign: float, chosen: Chosen | None = None) -> Tensor:
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
        intervals, cuts = [(low[rows], high[rows]) for low, high in self.intervals], cuts.to(self.region.x)
        for node in cuts.nodes:
            intervals[node] = cuts.narrow(node, *intervals[node])
        return Bounded(self.network, self.region[rows], intervals, _lines(self.network, intervals), self.values, cuts)


def _lines(network: Network, intervals: list[Interval]) -> dict[int, Enclosure]:
    """The lines around every nonlinear operation, as far as intervals are known."""
    return {
        number: node.relaxation.enclose(*intervals[node.sources[0]])
        for number, node in enumerate(network.nodes[: len(intervals)])
        if node.relaxation is not None
    }
