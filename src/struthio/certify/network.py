"""A model as a list of operations on one row, each affine or enclosed by lines: what bounds walk along."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from struthio.certify.call import Call
from struthio.certify.lines import Relaxation
from struthio.certify.operations import ELEMENTWISE, MIXES
from struthio.certify.relax import Clamp
from struthio.checks import UserError


class NotBounded(UserError):
    """The model has a part that cannot be bounded; the message names it."""


@dataclass(frozen=True, eq=False)
class Node:
    """One operation.

    Attributes:
        name: as in the traced graph.
        sources: the numbers of the nodes that it reads.
        shape: of its value for one row, [1, ...].
        run: its value from those of its sources, where it is affine; else None.
        spread: the radii of its value from those of its sources, likewise.
        relaxation: what encloses it, where it is not affine; else None.
        like: a number of the right precision and device.
        shapes: of the sources.
    """

    name: str
    sources: tuple[int, ...]
    shape: torch.Size
    run: Call | None = None
    spread: Call | None = None
    relaxation: Relaxation | None = None
    like: Tensor = field(default_factory=lambda: torch.zeros((), dtype=torch.float64))
    shapes: tuple[torch.Size, ...] = ()

    @property
    def op(self) -> Any:
        """The operation, where it is affine; else None."""
        return None if self.run is None else self.run.op

    @property
    def args(self) -> Any:
        """Its arguments, with slots for the sources."""
        return () if self.run is None else self.run.args

    def to(self, like: Tensor) -> Node:
        """The same operation in another precision."""
        run, spread = (None if call is None else call.to(like) for call in (self.run, self.spread))
        return replace(self, run=run, spread=spread, like=like)

    @property
    def mixes(self) -> bool:
        """Whether one output sums several inputs."""
        return self.op in MIXES

    @property
    def elementwise(self) -> bool:
        """Whether every value stays in its place."""
        return self.op in ELEMENTWISE

    @cached_property
    def _linear(self) -> tuple[Tensor, Callable[..., tuple[Tensor, ...]]]:
        assert self.run is not None
        zeros = [self.like.new_zeros(shape) for shape in self.shapes]
        offset, pull, *_ = torch.func.vjp(self.run, *zeros)
        return offset, pull

    @property
    def offset(self) -> Tensor:
        """The value of an affine operation at zero, [1, ...]."""
        return self._linear[0]

    def back(self, a: Tensor) -> tuple[Tensor, ...]:
        """Coefficients [m, 1, ...] of an affine operation's value as those of its sources."""
        pulled: tuple[Tensor, ...] = torch.vmap(self._linear[1])(a)
        return pulled

    def radius(self, *radii: Tensor) -> Tensor:
        """The radii [n, 1, ...] of an affine operation's value."""
        assert self.spread is not None
        nothing = self.spread(*(self.like.new_zeros(shape) for shape in self.shapes))
        return (torch.vmap(self.spread)(*radii) - nothing).clamp(min=0)


@dataclass(frozen=True)
class Network:
    """Operations in the order in which they run; the first is the input, the last gives the outputs [1, classes].

    Attributes:
        nodes: the operations.
        gap: how far each row that was traced answered otherwise than the model, by rounding, [n].
    """

    nodes: tuple[Node, ...]
    gap: Tensor = field(default_factory=lambda: torch.zeros(0))

    @property
    def widest(self) -> int:
        """The largest number of values of a node."""
        return max(node.shape.numel() for node in self.nodes)

    def values(self, x: Tensor) -> list[Tensor]:
        """The value of every node, each [n, 1, ...], for rows x [n, 1, ...]."""
        found = [x]
        for node in self.nodes[1:]:
            run = node.relaxation or node.run
            assert run is not None
            found.append(torch.vmap(run)(*(found[source] for source in node.sources)))
        return found

    def __call__(self, x: Tensor) -> Tensor:
        """Outputs [n, classes] of rows x [n, ...], in double precision."""
        return self.values(x.to(self.nodes[0].like).unsqueeze(1))[-1].flatten(1)

    @cached_property
    def single(self) -> Network:
        """The same operations in single precision, in which choices are looked for, and nothing is proved."""
        like = self.nodes[0].like.float()
        return replace(self, nodes=tuple(node.to(like) for node in self.nodes))

    def without_softmax(self) -> Network:
        """The network up to a softmax at its end, perhaps behind floors and a logarithm.

        A softmax keeps the order of classes and its logarithm the margins. A floor below the share of 1 that each class
        has on average, or its logarithm, hides no margin that is above 0.
        """
        end, behind = len(self.nodes) - 1, []
        while self.nodes[end].name == "log" or isinstance(self.nodes[end].relaxation, Clamp):
            behind.append(self.nodes[end])
            end = self.nodes[end].sources[0]
        least, most = 1 / self.nodes[end].shape.numel(), 1.0
        if self.nodes[end].name == "log softmax":
            least, most = math.log(least), 0.0
        elif self.nodes[end].name != "softmax":
            return self
        for node in reversed(behind):
            if not isinstance(node.relaxation, Clamp):
                least, most = math.log(least) if least > 0 else math.nan, 0.0
            elif not (node.relaxation.floor < least and node.relaxation.ceiling >= most):
                return self
        return replace(self, nodes=self.nodes[:end])
