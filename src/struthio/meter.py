"""Counts every question put to a model, row by row, and keeps to a budget."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from struthio import checks
from struthio.rows import Rows
from struthio.types import Model


class BudgetSpent(RuntimeError):
    """A row has no queries left. Raised before the model is asked, so the budget is never exceeded."""


class Metered:
    """A model that counts, per row, how often it is asked (forwards) and how often a gradient is taken (backwards).

    `metered[rows]` is the same meter for some of the rows, so that rows which leave an attack stop counting. A batch
    of k times as many inputs as rows (several views of each) counts k for each row, in the order all rows, all rows,
    ...

    Args:
        model: any callable from a batch [n, ...] to outputs [n, classes].
        rows: how many rows the attack has.
        budget: the most forwards a row may have, or None.
        device: where the counts are kept.
        first: what is done with the first outputs seen, to refuse what does not fit before more is spent.
    """

    def __init__(
        self,
        model: Model,
        rows: int,
        budget: int | None = None,
        device: torch.device | str = "cpu",
        first: Callable[[Tensor], None] | None = None,
    ) -> None:
        self.model, self.budget = model, budget
        self.first = [] if first is None else [first]
        self.ids = torch.arange(rows, device=device)
        self.forwards = torch.zeros(rows, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(rows, dtype=torch.int64, device=device)

    def __getitem__(self, rows: Rows) -> Metered:
        part = object.__new__(Metered)
        part.__dict__.update(self.__dict__, ids=self.ids[rows])
        return part

    def over(self, model: Model) -> Metered:
        """The same meter, counting on, over another model."""
        other = self[:]
        other.model = model
        return other

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def left(self) -> Tensor | None:
        """The forwards that each row has left, int64 [n], or None where there is no budget."""
        return None if self.budget is None else self.budget - self.forwards[self.ids]

    def __call__(self, x: Tensor) -> Tensor:
        """Ask the model about x [k * rows, ...]; raises BudgetSpent where a row has fewer than k forwards left."""
        asked, rest = divmod(len(x), len(self.ids))
        if rest or not asked:
            raise ValueError(f"{len(x)} inputs for {len(self.ids)} rows: narrow the model with the rows, model[rows].")
        left = self.left
        if left is not None and bool((left < asked).any()):
            raise BudgetSpent(
                f"the budget of {self.budget} forwards a row is spent for {int((left < asked).sum())} rows"
            )
        self.forwards[self.ids] += asked
        out = self.model(x)
        checks.outputs(out, len(x))
        while self.first:
            self.first.pop()(out)
        if out.requires_grad:
            out.register_hook(lambda grad: self._count_backward(asked))
        return out

    def _count_backward(self, asked: int) -> None:
        self.backwards[self.ids] += asked
