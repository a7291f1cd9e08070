"""Counts every question put to a model, row by row, and keeps to a budget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.failed import OWN, failed
from struthio.rows import Rows
from struthio.types import Model


class Ended(RuntimeError):
    """The model answers no more. An attack that meets this ends with what it has.

    Attributes:
        outputs: what was answered of the last question, NaN in rows that were not; None where nothing was.
    """

    outputs: Tensor | None = None


class BudgetSpent(Ended):
    """No queries are left. Raised before the model is asked, so the budget is never exceeded."""


class Gone(Ended):
    """A model behind a wire that cannot be reached any more."""


def ask(model: Model, x: Tensor) -> Tensor:
    """The model's outputs on x [n, ...]; an error of its own comes out as Failed, unless memory ran out."""
    try:
        return model(x)
    except (UserError, Ended, torch.OutOfMemoryError):
        raise
    except OWN as error:
        raise failed(error, x) from error


class Witness(Protocol):
    """Who sees every answer, and marks the rows that could not pay for a question."""

    cut: Tensor
    outputs: Tensor | None

    def see(self, ids: Tensor, x: Tensor, outputs: Tensor) -> None:
        """Rows (their numbers [n]) were asked about x [k * n, ...], and these are the answers [k * n, classes]."""
        ...


class Metered:
    """A model that counts, per row, how often it is asked (forwards) and how often a gradient is taken (backwards).

    `metered[rows]` is the same meter for some of the rows, so that rows which leave an attack stop counting. A batch
    of k times as many inputs as rows (several views of each) counts k for each row, in the order all rows, all rows,
    ...

    A model with an attribute `cost` (how often it was really asked about each input of the last batch, int64 [n]) is
    counted by that: an endpoint that remembers its answers, or had to ask twice. Before each question its attribute
    `allowed` is set to what the rows can pay, and rows whose answer is then NaN count as unable to.

    Args:
        model: any callable from a batch [n, ...] to outputs [n, classes].
        rows: how many rows the attack has.
        budget: the most forwards a row may have, or None.
        device: where the counts are kept.
        first: what is done with the first outputs seen, to refuse what does not fit before more is spent.
        witness: sees every answer. With it, one forward a row is kept for the judge; a row that cannot pay is marked as
            cut and gets zeros from then on, so that the others go on; BudgetSpent is raised when all rows are cut.
    """

    def __init__(
        self,
        model: Model,
        rows: int,
        budget: int | None = None,
        device: torch.device | str = "cpu",
        first: Callable[[Tensor], None] | None = None,
        witness: Witness | None = None,
    ) -> None:
        self.model, self.budget, self.witness = model, budget, witness
        self.first = [] if first is None else [first]
        self.ids, self.whole = torch.arange(rows, device=device), True
        self.forwards = torch.zeros(rows, dtype=torch.int64, device=device)
        self.backwards = torch.zeros(rows, dtype=torch.int64, device=device)

    def __getitem__(self, rows: Rows) -> Metered:
        part = object.__new__(Metered)
        whole = self.whole and isinstance(rows, slice) and rows == slice(None)
        part.__dict__.update(self.__dict__, ids=self.ids[rows], whole=whole)
        return part

    def over(self, model: Model) -> Metered:
        """The same meter, counting on, over another model; nobody watches, and the last forward may be spent."""
        other = self[:]
        other.model, other.witness = model, None
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
        if left is None:
            return self._ask(x, asked)
        if self.witness is not None:
            return self._ask_who_can_pay(x, asked, left, self.witness)
        if bool((left < asked).any()):
            raise self._spent(int((left < asked).sum()))
        out = self._ask(x, asked, left)
        unpaid = self._unpaid(out, asked)
        if bool(unpaid.any()):
            raise self._spent(int(unpaid.sum()))
        return out

    def _spent(self, rows: int) -> BudgetSpent:
        return BudgetSpent(f"the budget of {self.budget} forwards a row is spent for {rows} rows")

    def _ask_who_can_pay(self, x: Tensor, asked: int, left: Tensor, witness: Witness) -> Tensor:
        witness.cut[self.ids] |= left <= asked
        paying = ~witness.cut[self.ids]
        if bool(paying.all()):
            return self._answered(x, asked, left, witness)
        if witness.outputs is None or bool(witness.cut.all()):
            raise self._spent(int(witness.cut.sum()))
        nothing = 0 * x.flatten(1)[:, :1].nan_to_num()  # zeros through which a gradient passes, and is zero
        out = nothing.to(witness.outputs.dtype).repeat(1, witness.outputs.shape[1])
        if not bool(paying.any()):
            return out
        some = paying.repeat(asked).nonzero().flatten()
        return out.index_copy(0, some, self[paying]._answered(x[some], asked, left[paying], witness).to(out.dtype))

    def _answered(self, x: Tensor, asked: int, left: Tensor, witness: Witness) -> Tensor:
        """Ask for rows that can pay once; those that then cannot pay for a repetition are cut, and get zeros."""
        out = self._ask(x, asked, left - 1)
        unpaid = self._unpaid(out, asked)
        witness.cut[self.ids] |= unpaid
        return out.masked_fill(unpaid.repeat(asked)[:, None], 0) if bool(unpaid.any()) else out

    def _unpaid(self, out: Tensor, asked: int) -> Tensor:
        """Rows of which a model behind a wire left an input unanswered, bool [rows]."""
        if not hasattr(self.model, "allowed"):
            return torch.zeros_like(self.ids, dtype=torch.bool)
        return out.isnan().any(1).reshape(asked, -1).any(0)

    def _ask(self, x: Tensor, asked: int, pays: Tensor | None = None) -> Tensor:
        """The outputs, counted; each row pays for so many questions at most where `pays` [rows] is given."""
        if pays is not None and hasattr(self.model, "allowed"):
            self.model.allowed = (pays // asked).repeat(asked)
        try:
            out = ask(self.model, x)
        except Ended as ended:
            self._count(asked, 0)
            if ended.outputs is not None and self.witness is not None:
                self.witness.see(self.ids, x, ended.outputs)
            raise
        self._count(asked, asked)
        checks.outputs(out, len(x))
        while self.first:
            self.first.pop()(out)
        if out.requires_grad:
            out.register_hook(lambda grad: self._count_backward(asked))
        if self.witness is not None:
            self.witness.see(self.ids, x.detach(), out.detach())
        return out

    def _count(self, asked: int, unless_told: int) -> None:
        cost = getattr(self.model, "cost", None)
        if isinstance(cost, Tensor) and len(cost) == asked * len(self.ids):
            self._add(self.forwards, cost.to(self.ids.device).reshape(asked, -1).sum(0))
        else:
            self._add(self.forwards, unless_told)

    def _count_backward(self, asked: int) -> None:
        self._add(self.backwards, asked)

    def _add(self, counts: Tensor, asked: int | Tensor) -> None:
        if self.whole:  # the usual case, and many times as quick as picking all rows
            counts += asked
        else:
            counts[self.ids] += asked
