"""An attack over a whole data set, a batch at a time, in memory that does not grow with its rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.goals import Evade, Targeted, Untargeted, abstains
from struthio.losses import Margin
from struthio.meter import BudgetSpent, Ended, Metered
from struthio.result import Result
from struthio.rows import RowGenerator
from struthio.types import Goal, Model, Threat

Batch = tuple[Tensor, Tensor, Tensor]  # ids [b], x [b, ...], labels [b]
Aim = Callable[[Tensor, Tensor], Goal]  # clean outputs (of the classes alone) and labels to a goal


@dataclass(frozen=True)
class Attacked:
    """One finished batch.

    Attributes:
        ids: which rows of the data set these are, int64 [b].
        x: the clean inputs [b, ...].
        labels: their true classes, int64 [b].
        correct: whether the clean input was classified as its label, bool [b].
        attacked: whether the clean input did not reach the goal already, bool [b].
        result: the attack's Result. Rows that were not attacked have size 0 and no cost but the forward that showed it.
            Against a model that abstains the goal is to be reached unnoticed.
        predicted: the class of the clean input, int64 [b].
        abstained: whether the model abstains from the result, which is then not wrong, bool [b].
    """

    ids: Tensor
    x: Tensor
    labels: Tensor
    correct: Tensor
    attacked: Tensor
    result: Result
    predicted: Tensor
    abstained: Tensor

    @property
    def predicted_adv(self) -> Tensor:
        """The class of the result, int64 [b]; -1 where a model behind a wire never answered."""
        return self.result.predicted


def stream(
    attack: Attack,
    model: Model,
    batches: Callable[[int], Iterable[Batch]],
    aim: Aim,
    threat: Threat,
    *,
    seed: int = 0,
    batch_size: int = 128,
    budget: int | None = None,
    rows: int | None = None,
) -> Iterator[Attacked]:
    """Attack batch after batch; each row's random numbers come from (seed, row id), so no batch size changes an answer.

    Args:
        batches: from a batch size, the batches of the data set.
        aim: the goal of a batch, from its clean outputs and labels.
        batch_size: rows at once; halved, and the batch tried again, when memory runs out.
        budget: the most forwards a row may have, the one that shows its clean answer included.
        rows: how many rows there are in all, where known. What an endpoint's own budget has left is then shared evenly
            among those still to come; what a row leaves over goes to the others.

    Yields:
        Attacked, batch by batch, in order.

    Raises:
        Ended: where a model behind a wire answers no more, or its budget has no questions left for the next batch. A
            batch that is cut short is yielded before, with what it has.
    """
    done = 0
    for ids, x, labels in batches(batch_size):
        share = _share(model, budget, None if rows is None else rows - done)
        one = partial(_one, attack, model, aim, threat, seed, share)
        yield from _split(one, ids, x, labels)
        done += len(ids)
        if ended := getattr(getattr(model, "original", model), "ended", None):
            raise ended


def _share(model: Model, budget: int | None, rows: int | None) -> int | None:
    """The most forwards that each of so many rows may have."""
    left = getattr(getattr(model, "original", model), "left", None)
    if left is None or rows is None:
        return budget
    share: int = left // max(rows, 1)
    if share < 2:
        raise BudgetSpent(
            f"{left} of the budget's questions are left for {rows} rows; each needs two at least. Raise the budget, or "
            "attack fewer rows (-n)."
        )
    return share if budget is None else min(share, budget)


def _split(
    one: Callable[[Tensor, Tensor, Tensor], Attacked], ids: Tensor, x: Tensor, labels: Tensor
) -> Iterator[Attacked]:
    """A batch, or its halves where it does not fit into the memory."""
    pending = [torch.arange(len(ids))]
    while pending:
        rows = pending.pop(0)
        try:
            yield one(ids[rows], x[rows], labels[rows])
        except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
            if isinstance(error, Ended) or not out_of_memory(error) or len(rows) == 1:
                raise
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
            halves = rows.chunk(2)
            pending = [*halves, *pending]


def out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, on any device."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    text = str(error).lower()
    return "out of memory" in text or "can't allocate memory" in text or "not enough memory" in text


def _one(
    attack: Attack,
    model: Model,
    aim: Aim,
    threat: Threat,
    seed: int,
    budget: int | None,
    ids: Tensor,
    x: Tensor,
    labels: Tensor,
) -> Attacked:
    given = getattr(model, "original", model)
    meter = Metered(given, len(x), budget, x.device)
    with torch.no_grad():
        outputs = meter(x)
    spent = meter.forwards.clamp(min=1)  # an endpoint may have known the answer
    goal = aimed(given, aim, outputs, labels)
    goal.check_outputs(outputs)
    result = Result(
        x_adv=x.clone(),
        success=goal.success(outputs),
        size=torch.zeros(len(x), dtype=x.dtype, device=x.device),
        score=goal.score(Margin(), outputs),
        forwards=spent,
        backwards=torch.zeros(len(x), dtype=torch.int64, device=x.device),
        predicted=outputs.argmax(1),
    )
    predicted = result.predicted.clone()
    attacked = ~result.success
    rows, left = attacked.nonzero().flatten(), None if budget is None else budget - int(spent.max())
    if len(rows) and left != 0:
        generator = RowGenerator.seeded(seed, ids[rows].to(x.device))
        rest = {} if left is None else {"budget": left}
        found = attack(model, x[rows], goal[rows], threat[rows], generator, **rest)
        for name in ("x_adv", "success", "size", "score", "backwards", "predicted"):
            getattr(result, name)[rows] = getattr(found, name)
        result.forwards[rows] += found.forwards
    abstained = (result.predicted == outputs.shape[1] - 1) & abstains(given)
    return Attacked(ids, x, labels, predicted == labels, attacked, result, predicted, abstained)


def aimed(model: Model, aim: Aim, outputs: Tensor, labels: Tensor) -> Goal:
    """The goal of a batch; of a model that abstains, the goal by its classes, to be reached unnoticed (`Evade`).

    Args:
        model: as given.
        aim: from clean outputs and labels to a goal.
        outputs: on the clean inputs [n, ...].
        labels: their classes, int64 [n].
    """
    return Evade(aim(outputs[:, :-1], labels)) if abstains(model) else aim(outputs, labels)


def aim(spec: str, index: Callable[[str], int] | None = None) -> Aim:
    """A goal for every batch from its text: `untargeted`, `least-likely`, `second`, `next`, or `to:CLASS`.

    `least-likely` and `second` are the weakest and the second strongest class of the clean input, `next` is the label
    plus one, `to:CLASS` one class for all rows (rows that have it as their label count as reached by the clean input
    and are not attacked). `index` turns a class name into its number.
    """
    kind, _, wanted = spec.partition(":")
    if kind == "untargeted":
        return lambda outputs, labels: Untargeted(labels)
    if kind == "least-likely":
        return lambda outputs, labels: Targeted(outputs.argmin(1))
    if kind == "second":
        return lambda outputs, labels: Targeted(outputs.topk(2, dim=1).indices[:, 1])
    if kind == "next":
        return lambda outputs, labels: Targeted((labels + 1) % outputs.shape[1])
    if kind == "to" and wanted:
        number = int(wanted) if wanted.isdigit() else _named(wanted, index)
        return lambda outputs, labels: Targeted(torch.full_like(labels, number))
    known = ["untargeted", "least-likely", "second", "next", "to:CLASS"]
    raise checks.UserError(f"{spec!r} is no goal. {checks.near_misses(spec, known, 'goals')}")


def _named(name: str, index: Callable[[str], int] | None) -> int:
    if index is None:
        raise checks.UserError(f"the model has no class names, so {name!r} cannot be found; give the class number.")
    return index(name)
