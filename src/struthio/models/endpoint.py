"""A model behind an HTTP address, as a model like any other: batched, budgeted, paced, and asked nothing twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.data.journal import Journal
from struthio.meter import BudgetSpent, Ended, Gone
from struthio.models.post import LARGEST, Line, TryAgain
from struthio.models.reader import Reader
from struthio.models.remembered import Remembered, key_of
from struthio.models.wire import Request, Values

FIRST_WAIT, LONGEST_WAIT = 0.25, 60.0  # seconds
FLOOR = 1e-12  # the smallest probability told from 0


class Endpoint(nn.Module):
    """A service that takes JSON by POST and answers with scores or labels.

    The budget counts inputs, not requests, as the service does, and is never exceeded: a question that would do so is
    not put, and BudgetSpent is raised. Questions that failed after they were sent (a server error, a timeout, a broken
    connection) count too, since the service may have worked on them; `unsure` says how many these are. A refused
    connection and "too many requests" (429) do not count. An attack that meets BudgetSpent, or a service that is gone,
    ends with what it has.

    Args:
        url: where to POST.
        outputs: "scores" of any kind, higher for likelier classes; "probabilities" (percent too), of which logarithms
            are taken; or "labels", class numbers or names, which become one-hot outputs.
        classes: how many classes there are, or their names in order; needed for labels, and the names for scores that
            are said by name and not in the order of the classes.
        budget: the most inputs that may be sent in all; None for no limit.
        rate: the most requests a second; None for no limit.
        timeout: seconds until an answer is given up.
        retries: how often a question that failed is put again, after 0.25, 0.5, 1, ... seconds; after 0.25, 1, 4, ...
            where the service did not take it at all; or as long as it asks for (Retry-After, at most 60).
        cache: whether answers are remembered (100,000 of them), so that what was asked before costs nothing.
        batch: the most inputs in one request.
        request: how inputs become JSON: a Request, or a function from an array [m, ...] to a JSON value.
        parse: where the numbers are in an answer, such as `outputs.0.data` or `results.*.score`; or a function from the
            JSON value to them; None looks in the usual places.
        headers: sent with every request.
        kept: a journal in which every answer is written down as it comes, and what was sent before it is sent: an
            endpoint that is made later with the same file knows all of it, though this process were killed. With
            `Journal.open("answers.sqlite", {"service": url})` it is of one service; it needs `cache`.
        largest: the most bytes of an answer.
        client: an httpx.Client of your own; else one that reads no proxies or passwords from the environment.

    Attributes:
        memory: what is remembered (`Remembered`).
        cost: how often each input of the last batch was sent, int64 [n].
        allowed: how often each input of the next batch may be sent at most, int64 [n]; outputs are NaN where that was
            not enough. None for no limit but `retries`. It is set by who keeps a budget for each row.
        ended: why a question was given up for the first time, or None.
    """

    remote = True
    cost: Tensor
    allowed: Tensor | None

    def __init__(
        self,
        url: str,
        outputs: str = "scores",
        classes: int | Sequence[str] | None = None,
        budget: int | None = None,
        rate: float | None = None,
        timeout: float = 5.0,
        retries: int = 3,
        cache: bool = True,
        batch: int = 32,
        request: Request | Callable[[Values], Any] | None = None,
        parse: str | Callable[[Any], Any] | None = None,
        headers: Mapping[str, str] | None = None,
        kept: Journal | None = None,
        largest: int = LARGEST,
        client: Any = None,
    ) -> None:
        super().__init__()
        self.reader = Reader(outputs, classes, parse)
        for name, number in (("budget", budget), ("batch", batch), ("largest", largest)):
            if number is not None:
                checks.count(number, name)
        for name, value in (("rate", rate), ("timeout", timeout)):
            if value is not None:
                checks.positive(value, name)
        checks.count(retries, "retries", 0)
        self.budget, self.rate = budget, rate
        self.retries, self.cache, self.batch = retries, cache, batch
        self.request = request or Request()
        self.line = Line(url, timeout, headers, largest, client)
        self.memory = Remembered()
        if kept is not None:
            self.remember(kept)
        self.input_size: tuple[int, ...] | None = None
        self._next = 0.0  # when the next request may go out
        self.cost, self.allowed = torch.zeros(0, dtype=torch.int64), None
        self.ended: Ended | None = None

    def remember(self, kept: Journal) -> None:
        """Know all that was answered and sent by the journal, and write down there what is from now on.

        Raises UserError where answers are not cached.
        """
        if not self.cache:
            raise UserError("answers are kept by who remembers them: leave cache=True where they shall be kept.")
        self.memory = Remembered(kept)
        self.reader.classes = self.memory.classes or self.reader.classes

    @property
    def asked(self) -> int:
        """How many inputs were sent, all counted."""
        return self.memory.asked

    @property
    def unsure(self) -> int:
        """How many of these the service may not have worked on."""
        return self.memory.unsure

    @property
    def unsent(self) -> int | None:
        """How many inputs may still be sent, or None where there is no limit."""
        return None if self.budget is None else self.budget - self.asked

    @property
    def left(self) -> int | None:
        """How many inputs rows may still have answered, or None where there is no limit: sent, or paid for already."""
        return None if self.unsent is None else self.unsent + len(self.memory.unpaid)

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Outputs [n, classes] for inputs [n, ...]. Raises BudgetSpent, Gone, or UserError for an odd answer."""
        allowed, self.allowed = self.allowed, None
        values = self.request.values(x) if isinstance(self.request, Request) else x.detach().cpu().numpy()
        keys = [key_of(row) if self.cache else place.to_bytes(8) for place, row in enumerate(values)]
        places = {key: place for place, key in reversed(list(enumerate(keys)))}  # the first of each
        answers = self.memory.find(places)
        fresh = sorted(place for key, place in places.items() if key not in answers)
        self.cost = torch.zeros(len(x), dtype=torch.int64)
        for key in self.memory.unpaid.intersection(answers):
            self.cost[places[key]] = 1
            self.memory.unpaid.remove(key)
        most = [self.retries + 1] * len(x) if allowed is None else allowed.tolist()
        try:
            for start in range(0, len(fresh), self.batch):
                answers.update(self._ask(values, keys, fresh[start : start + self.batch], most))
            if self.reader.classes is None and not answers:
                raise BudgetSpent(f"no row has questions left for {self.line.shown}.")
        except Ended as ended:
            self.ended = self.ended or ended
            ended.outputs = self._outputs(keys, answers, x) if answers else None
            raise
        finally:
            if self.cache:
                self.memory.keep(answers)
        return self._outputs(keys, answers, x)

    def _outputs(self, keys: list[bytes], answers: dict[bytes, Values], x: Tensor) -> Tensor:
        """Answers as outputs, NaN where there is none."""
        nothing = np.full(self.reader.classes or 0, np.nan)
        outputs = torch.from_numpy(np.stack([answers.get(key, nothing) for key in keys]))
        if self.reader.outputs == "probabilities":
            outputs = outputs.clamp(min=FLOOR).log()
        return outputs.to(x.device, x.dtype)

    def _ask(self, values: Values, keys: list[bytes], places: list[int], most: list[int]) -> dict[bytes, Values]:
        """Answers by their keys, from one request; put again where that may help, for those that may be.

        Args:
            values: all inputs of the batch.
            keys: theirs.
            places: of those that are asked about.
            most: how often each input of the batch may be sent.
        """
        reason = ""
        for turn in range(self.retries + 1):
            places = [place for place in places if self.cost[place] < most[place]]
            if not places:
                return {}
            if self.unsent is not None and self.unsent < len(places):
                raise BudgetSpent(self._too_few(len(places)) + reason)
            self._pace()
            self.memory.about_to_send(len(places))
            processed, sure, answers = True, False, dict[bytes, Values]()
            try:
                said = self.line.ask(self.request(values[places]))
                sure = True
                answers = dict(zip((keys[place] for place in places), self._read(said, len(places)), strict=True))
            except TryAgain as failed:
                processed, reason = failed.processed, f" The last question failed: {failed}."
                growth = 2 if processed else 4
                wait = min(FIRST_WAIT * growth**turn, LONGEST_WAIT) if failed.wait is None else failed.wait
            finally:
                self.memory.asked += len(places) * processed
                self.memory.unsure += len(places) * (processed and not sure)
                self.cost[places] += processed
                self.memory.heard(answers)
            if sure:
                return answers
            if wait > LONGEST_WAIT:
                raise Gone(f"{self.line.shown} asks to wait {wait:.0f} s.{reason}")
            if turn < self.retries:
                time.sleep(wait)
        times = f"{self.retries + 1} times" if self.retries else "once"
        raise Gone(f"{self.line.shown} was asked {times} and gave no answer.{reason}")

    def _too_few(self, wanted: int) -> str:
        return (
            f"the budget of {self.budget} for {self.line.shown} does not pay for the next question: {wanted} inputs, "
            f"of which {self.unsent} may be sent."
        )

    def _pace(self) -> None:
        if self.rate is None:
            return
        now = time.monotonic()
        if self._next > now:
            time.sleep(self._next - now)
        self._next = max(now, self._next) + 1 / self.rate

    def _read(self, answer: Any, rows: int) -> Values:
        try:
            return self.reader.read(answer, rows)
        except UserError as error:
            raise UserError(f"{self.line.shown}: {error}") from error

    def spent(self) -> str:
        """In words, how many inputs were sent, and how many of these the service may not have worked on."""
        of = "" if self.budget is None else f" of {self.budget:,}"
        doubt = f", of which {self.unsure:,} failed and may not have been processed" if self.unsure else ""
        return f"{self.asked:,}{of} inputs sent{doubt}"

    def extra_repr(self) -> str:
        """The address, and what was spent."""
        return f"{self.line.shown}, {self.reader.outputs}, {self.spent()}"
