"""What every attack shares: the checks before it, the meter around it, and the judge after it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.kept import Kept, behind_a_wire
from struthio.attacks.nouns import check_nouns, usable
from struthio.gradients import Estimated
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.models.single import HALVES, AskedInSingle
from struthio.put_back import seeded
from struthio.result import Result
from struthio.rows import RowGenerator, as_generator
from struthio.types import Goal, Model, Threat

ROUNDINGS = 20  # times the tolerance of a prepared model, to be on the safe side
NORMS = ("linf", "l2", "l1", "l0", "patch", "spatial")


@dataclass(frozen=True)
class Attack:
    """A frozen dataclass of options with one method to write, `search`, and one to use: calling it.

    To add an attack: subclass, write `search`, name the paper, and add one line to `registry.py`.
    """

    paper: ClassVar[str]  # authors, year, arXiv number
    access: ClassVar[str] = "gradients"  # what it must see of the model: gradients, scores or labels
    norms: ClassVar[tuple[str, ...]] = NORMS  # the threats in which it is defined, by their `norm`
    improves: ClassVar[bool] = True  # more steps never hurt: the best found is kept

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best inputs found for x [n, ...]. Narrow everything alike when rows leave: model[rows], goal[rows]."""
        raise NotImplementedError

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the attack is not defined in the threat's norm; one that names none may pass."""
        checks.norm_known(getattr(threat, "norm", None), self.norms, type(self).__name__)

    def __call__(
        self,
        model: Model,
        x: Tensor,
        goal: Goal,
        threat: Threat,
        generator: int | RowGenerator | torch.Generator = 0,
        budget: int | None = None,
    ) -> Result:
        """Attack every row of x.

        Args:
            model: any callable from a batch to class scores [n, classes]; best an nn.Module in evaluation mode that
                holds its own normalisation, or one made faster by `struthio.prepare`.
            x: the inputs [n, ...], within the limits of the threat. Of x in half precision the search and the result
                are in single, and the model, which rounds what it gets, is asked as it was given.
            goal: what counts as success.
            threat: what may change, and by how much.
            generator: a seed (rows are numbered from 0), a RowGenerator that carries the rows' ids, or a
                torch.Generator.
            budget: the most forwards a row may have in the whole call, the judge's one included. A row that has no more
                ends with the best that the model was asked about. The model is then asked as it was given.

        Returns:
            A Result whose success, size, score and cost were recomputed here, on the model as it was given.

        Raises:
            UserError: where an argument cannot be meant; the message says what to do.
            Ended: where a model behind a wire answers nothing at all (later on, the attack ends with what it has).
        """
        check_nouns(model, x, goal, threat, getattr(self, "loss", None), getattr(self, "gradient", None))
        if self.access == "gradients" and not _estimates(self):
            checks.no_inference_mode()
        x = usable(x)
        if x.dtype in HALVES:
            asked = model if behind_a_wire(model) else AskedInSingle(getattr(model, "original", model), x.dtype)
            return self(asked, x.float(), goal, threat, generator, budget)
        goal.check(x)
        threat.check(x)
        self.fits(threat)
        given = getattr(model, "original", model)
        checks.mode(given)
        rows = as_generator(generator, x)
        if budget is not None or behind_a_wire(given):
            return self._with_what_it_has(given, x, goal, threat, rows, budget)
        with no_trace(rows):
            meter = Metered(model, len(x), device=x.device, first=goal.check_outputs)
            x_adv = self.search(meter, x, goal, threat, rows).detach()
            judge = meter.over(given)
            outputs = _ask(judge, x_adv)
            if given is not model:
                again = _refuted(meter, x_adv, goal, outputs, getattr(model, "tolerance", math.inf))
                if len(again):
                    part = judge[again], x[again], goal[again], threat[again], rows[again].fold(1)
                    found = self.search(*part).detach()
                    x_adv = x_adv.index_copy(0, again, found)
                    outputs = outputs.index_copy(0, again, _ask(judge[again], found))
        return _result(x, x_adv, outputs, goal, threat, meter)

    def _with_what_it_has(
        self, model: Model, x: Tensor, goal: Goal, threat: Threat, rows: RowGenerator, budget: int | None
    ) -> Result:
        """The call where questions may run out: what the model was asked about is kept on the way."""
        if budget is not None:
            checks.count(budget, "budget")
        kept = Kept(x, goal, threat)
        with no_trace(rows):
            meter = Metered(model, len(x), budget, x.device, goal.check_outputs, kept)
            x_adv = kept.ending(lambda: self.search(meter, x, goal, threat, rows))
            x_adv, outputs = kept.judged(meter.over(model), x_adv)
        return _result(x, x_adv, outputs, goal, threat, meter)


def _estimates(attack: Attack) -> bool:
    """Whether its slopes come from queries alone."""
    gradient: Any = getattr(attack, "gradient", None)
    while hasattr(gradient, "inner"):
        gradient = gradient.inner
    return isinstance(gradient, Estimated)


def _result(x: Tensor, x_adv: Tensor, outputs: Tensor, goal: Goal, threat: Threat, meter: Metered) -> Result:
    return Result(
        x_adv=x_adv,
        success=goal.success(outputs) & threat.allows(x, x_adv),
        size=threat.size(x, x_adv),
        score=goal.score(Margin(), outputs),
        forwards=meter.forwards,
        backwards=meter.backwards,
        predicted=outputs.argmax(1).masked_fill(outputs.isnan().all(1), -1),
    )


@torch.no_grad()
def _ask(model: Metered, x: Tensor) -> Tensor:
    return model(x)


@torch.no_grad()
def _refuted(fast: Metered, x_adv: Tensor, goal: Goal, outputs: Tensor, tolerance: float) -> Tensor:
    """Rows that only the prepared model calls won: its rounding, not the attack, won them.

    It is asked about those alone that the model as given calls lost by no more than rounding can do.
    """
    rounding = ROUNDINGS * tolerance * outputs.abs().amax(1).clamp(min=1)
    lost = (~goal.success(outputs) & (goal.score(Margin(), outputs) > -rounding)).nonzero().flatten()
    if not len(lost):
        return lost
    return lost[goal[lost].success(fast[lost](x_adv[lost]))]


@contextmanager
def no_trace(generator: RowGenerator) -> Iterator[None]:
    """Leave torch's global random state as it was; a model that draws from it gets numbers that the generator sets."""
    with seeded(generator.seed):
        yield
