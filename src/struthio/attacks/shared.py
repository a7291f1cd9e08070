"""One change for many inputs: what it is, and how it is judged on inputs that it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio.attacks.base import Attack, no_trace
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Model, Threat

Batch = tuple[Tensor, Tensor, Tensor | None]  # ids [b], x [b, ...], labels [b], which nothing here reads
Batches = Callable[[int], Iterable[Batch]] | Iterable[Batch]


@dataclass(frozen=True)
class Fooling:
    """How one change does, batch by batch.

    Attributes:
        fooled: how many rows of each batch are fooled: the class changes from that of the clean input (or, with a
            target, becomes the target).
        rows: how many rows of each batch count: all (or, with a target, those that are not of that class already).
    """

    fooled: tuple[int, ...]
    rows: tuple[int, ...]

    @property
    def rate(self) -> float:
        """The share of all rows that is fooled."""
        return sum(self.fooled) / max(sum(self.rows), 1)

    @property
    def rates(self) -> tuple[float, ...]:
        """The share of each batch that is fooled."""
        return tuple(fooled / max(rows, 1) for fooled, rows in zip(self.fooled, self.rows, strict=True))


@dataclass(frozen=True, eq=False)
class Universal(Attack):
    """One change for all inputs. As an attack it costs no question but the judge's, and takes any goal.

    `noise.fooling(model, held_out)` is the paper's number; `noise(model, x, goal, threat)` gives a Result as every
    attack does, and `Universal(threat.sample(x[:1], generator)[0], threat)` is the random noise to compare with.

    Args:
        delta: the change, in the shape of one input [...].
        threat: in which it was found.
        target: the class that all inputs are to be taken for; None for any but that of the clean input.
        rates: the share of the fitting rows that was fooled, pass by pass.
        forwards: how often the model was asked in fitting, all rows together.
        backwards: how many gradients were taken in fitting, all rows together.
        seconds: how long fitting took.
    """

    paper: ClassVar[str] = "Moosavi-Dezfooli, Fawzi, Fawzi, Frossard, 2017, arXiv 1610.08401"
    access: ClassVar[str] = "labels"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    delta: Tensor
    threat: Threat
    target: int | None = None
    rates: tuple[float, ...] = ()
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0

    def apply(self, x: Tensor) -> Tensor:
        """The changed inputs [n, ...], within the limits of each."""
        return self._under(x, self.threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The changed inputs, brought inside the threat of the call where that is another one."""
        return self._under(x, threat)

    def fooling(self, model: Model, batches: Batches, batch_size: int = 128) -> Fooling:
        """How many rows of each batch are fooled, by two forwards a row.

        Args:
            model: the one it was fitted on, or another: does the change transfer?
            batches: as in fitting, best of inputs that fitting did not see.
            batch_size: the most rows at once.
        """
        fooled, counted = [], []
        given = getattr(model, "original", model)
        for ids, x in chunks(batches, batch_size):
            with torch.no_grad(), no_trace(RowGenerator.seeded(0, ids)):
                before, after = given(x).argmax(1), given(self.apply(x)).argmax(1)
            counts = torch.ones_like(before, dtype=torch.bool) if self.target is None else before != self.target
            won = after != before if self.target is None else after == self.target
            fooled.append(int((won & counts).sum()))
            counted.append(int(counts.sum()))
        return Fooling(tuple(fooled), tuple(counted))

    def _under(self, x: Tensor, threat: Threat) -> Tensor:
        if x.shape[1:] != self.delta.shape:
            raise UserError(
                f"the change has shape {tuple(self.delta.shape)} and the inputs {tuple(x.shape[1:])}; "
                "one change serves inputs of one shape."
            )
        z = self.delta.to(x).expand_as(x)
        return threat.apply(x, threat.project(x, z)).detach()


def chunks(batches: Batches, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The ids and inputs of a data set, at most `size` rows at once."""
    if isinstance(batches, Iterator):
        raise UserError(
            "the batches can be read only once, and fitting reads them in every pass. Give a list, a loader, or a "
            "function of the batch size, such as data.batches."
        )
    for ids, x, *_ in batches(size) if callable(batches) else batches:
        if ids.ndim != 1 or ids.is_floating_point() or len(ids) != len(x):
            raise UserError(
                f"a batch begins with shapes {tuple(ids.shape)} and {tuple(x.shape)}; the rows' numbers [n] and inputs "
                "[n, ...] are needed: (torch.arange(len(x)), x), or what the batches of struthio.load_data give."
            )
        yield from zip(ids.split(size), x.detach().split(size), strict=True)
