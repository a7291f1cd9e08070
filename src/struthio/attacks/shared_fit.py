"""Passes over the rows of a data set, each of which updates the one change that all rows share."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import no_trace
from struthio.attacks.shared import Batches, Universal, chunks
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.goals import Drift, Targeted
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.threats import Levels, Masked
from struthio.threats.balls import Ball
from struthio.types import Goal, Model, Threat

Update = Callable[[Task, Tensor, Threat], tuple[Tensor, Tensor]]  # rows, z [1, ...] and its own threat: z, won [b]
Progress = Callable[[int, float], None]  # passes done, and the share of rows fooled


@dataclass(frozen=True, eq=False)
class Fitting:
    """What a change is fitted to: the rows of a data set on a model, and what is wanted of it.

    Args:
        model: from a batch to logits.
        batches: the rows, read anew in every pass.
        threat: the balls that z is to lie in, with the limits of the inputs.
        target: the class that all rows are to be taken for, or None.
        batch_size: the most rows at once.
        seed: of random numbers.
    """

    model: Model
    batches: Batches
    threat: Threat
    target: int | None
    batch_size: int
    seed: int

    def __post_init__(self) -> None:
        check_finite(self.threat)
        checks.mode(getattr(self.model, "original", self.model))

    def passed(self, update: Update, z: Tensor | None, done: int) -> Iterator[tuple[Tensor, Tensor]]:
        """One pass of updates: after each batch z, and how many rows there were, were fooled, and cost (both ways)."""
        own = alone(self.threat)
        for ids, x in chunks(self.batches, self.batch_size):
            z = torch.zeros_like(x[:1]) if z is None else z
            if x.shape[1:] != z.shape[1:]:
                raise UserError(
                    f"inputs of shape {tuple(x.shape[1:])} after {tuple(z.shape[1:])}; one shape is needed."
                )
            generator = RowGenerator.seeded(self.seed, ids.to(x.device)).fold(done)
            with no_trace(generator):
                task = self._task(x, generator)
                z, won = update(task, z, own)
            spent = int(task.model.forwards.sum()), int(task.model.backwards.sum())
            yield z, torch.tensor([len(x), int(won.sum()), *spent])
        if z is None:
            raise UserError("the batches hold no rows to fit a change to.")

    def _task(self, x: Tensor, generator: RowGenerator) -> Task:
        self.threat.check(x)
        goal: Goal
        if self.target is None:
            meter = Metered(self.model, len(x), device=x.device)
            with torch.no_grad():
                goal = Drift(meter(x))
        else:
            goal = Targeted(torch.full((len(x),), self.target, dtype=torch.int64, device=x.device))
            meter = Metered(self.model, len(x), device=x.device, first=goal.check_outputs)
        return Task.whole(meter, x, goal, self.threat, generator)

    def run(self, update: Update, passes: int, enough: float | None, progress: Progress | None) -> Universal:
        """Pass over the rows again and again.

        With `enough`, z is judged after each pass, fitting stops at that share of fooled rows, and the best pass is
        kept; without, the shares are those seen on the way, and the last pass is kept.

        Raises:
            Stopped: after Ctrl-C, with what was found until then; KeyboardInterrupt where that is nothing.
        """
        began, found, best = time.perf_counter(), list[float](), -1.0
        z: Tensor | None = None
        kept, total = None, torch.zeros(4, dtype=torch.int64)

        def so_far() -> Universal:
            assert z is not None
            seconds, change = time.perf_counter() - began, z[0] if kept is None else kept
            return Universal(change, self.threat, self.target, tuple(found), int(total[2]), int(total[3]), seconds)

        try:
            for done in range(passes):
                before = total
                for moved, told in self.passed(update, z, done):
                    z, total = moved, total + told
                rows, fooled, _, _ = (total - before).tolist()
                rate = fooled / rows
                if z is not None and enough is not None:
                    change = Universal(z[0], self.threat, self.target)
                    rate = change.fooling(self.model, self.batches, self.batch_size).rate
                    total = total + torch.tensor([0, 0, 2 * rows, 0])
                    kept, best = (z[0], rate) if rate > best else (kept, best)
                found.append(rate)
                if progress is not None:
                    progress(done + 1, rate)
                if enough is not None and rate >= enough:
                    break
        except KeyboardInterrupt as stop:
            raise (stop if z is None else Stopped(so_far())) from None
        return so_far()


class Stopped(KeyboardInterrupt):
    """Ctrl-C in fitting.

    Attributes:
        found: the change as it was then.
    """

    def __init__(self, found: Universal) -> None:
        super().__init__()
        self.found = found


def alone(threat: Threat) -> Threat:
    """The threat as it binds z itself: without the limits of the inputs, which cut z otherwise in every row.

    Raises:
        UserError: where a radius or a mask of its own for each row leaves no room for one change.
    """
    if isinstance(threat, Levels):
        return alone(threat.threat)
    if isinstance(threat, Masked) and not threat.each:
        return replace(threat, threat=alone(threat.threat))
    if isinstance(threat, Ball) and not (isinstance(threat.eps, Tensor) and threat.eps.ndim):
        return replace(threat, box=None)
    raise UserError(
        f"one change for all rows needs a ball of one radius, perhaps with one mask for all rows; "
        f"{type(threat).__name__} as given is not that. Take Linf(eps) or L2(eps)."
    )
