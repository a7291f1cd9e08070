"""A call whose arguments are constants, but for some that are the values of earlier operations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map


@dataclass(frozen=True)
class Slot:
    """The place of an earlier value in the arguments of a call."""

    number: int


@dataclass(frozen=True, eq=False)
class Call:
    """An operation with its arguments, as a function of the values in the slots alone, in their order.

    Attributes:
        op: the operation.
        args: what it is called with.
        named: likewise, by name.
    """

    op: Callable[..., Any]
    args: Any
    named: Any = field(default_factory=dict)

    @cached_property
    def _places(self) -> list[int] | None:
        """The arguments that are slots; None where some slots are inside of lists, or named."""
        places = [place for place, part in enumerate(self.args) if isinstance(part, Slot)]
        every = sum(isinstance(part, Slot) for part in tree_leaves((self.args, self.named)))
        return places if len(places) == every else None

    def __call__(self, *values: Tensor) -> Tensor:
        """What comes of these values."""
        args, named = list(self.args), self.named
        if self._places is not None:  # walking through all arguments takes longer than many an operation
            for place, value in zip(self._places, values, strict=True):
                args[place] = value
        else:
            left = iter(values)
            args, named = tree_map(lambda part: next(left) if isinstance(part, Slot) else part, (args, named))
        out: Tensor = self.op(*args, **named)
        return out

    def to(self, like: Tensor) -> Call:
        """The same call with constants in another precision."""
        return Call(self.op, *tree_map(lambda part: in_precision(part, like), (self.args, self.named)))


def in_precision(value: Any, like: Tensor) -> Any:
    """A tensor of real numbers in the precision of another; anything else as it is."""
    return value.to(like.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value
