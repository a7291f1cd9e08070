"""Values inside a network that are held to one side of an edge: narrower intervals, and a multiplier for each.

Wang et al., 2021, arXiv 2103.06624 (beta-CROWN): what is known not to be negative, times a multiplier that is not, may
be taken off a line below. That gives a bound for every multiplier, and the best of them hold the value to its side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from struthio.rows import Rows


@dataclass(frozen=True)
class Cuts:
    """The same number of cuts for each entry.

    Attributes:
        nodes: whose values can be cut, each with the places of its values, counted over all of them.
        places: of the values that are cut, int64 [k, cuts].
        edges: where, [k, cuts].
        sides: 1 for values above the edge, -1 for those below it, [k, cuts].
    """

    nodes: Mapping[int, range]
    places: Tensor
    edges: Tensor
    sides: Tensor

    def __getitem__(self, rows: Rows) -> Cuts:
        return replace(self, places=self.places[rows], edges=self.edges[rows], sides=self.sides[rows])

    def to(self, like: Tensor) -> Cuts:
        """The same cuts in another precision."""
        return replace(self, edges=self.edges.to(like.dtype), sides=self.sides.to(like.dtype))

    def narrow(self, node: int, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """The interval of a node [k, 1, ...] behind its cuts."""
        mine, at = self._own(node)
        far = self.edges.new_tensor(torch.inf)
        above = torch.where(mine & (self.sides > 0), self.edges, -far)
        below = torch.where(mine & (self.sides < 0), self.edges, far)
        least = low.flatten(1).scatter_reduce(1, at, above, "amax")
        most = high.flatten(1).scatter_reduce(1, at, below, "amin")
        return least.reshape(low.shape), most.reshape(high.shape)

    def hold(self, node: int, a: Tensor, multipliers: Tensor) -> tuple[Tensor, Tensor]:
        """Coefficients [k, 1, ...] of a node, less the multipliers [k, cuts] of its cuts; and a constant [k]."""
        mine, at = self._own(node)
        signed = multipliers * self.sides * mine
        return a.flatten(1).scatter_add(1, at, -signed).reshape(a.shape), (signed * self.edges).sum(1)

    def _own(self, node: int) -> tuple[Tensor, Tensor]:
        """Which cuts are of this node, and the places within it; 0 for others."""
        own = self.nodes[node]
        mine = (self.places >= own.start) & (self.places < own.stop)
        return mine, torch.where(mine, self.places - own.start, 0)
