"""`struthio attack --model ... --data ...`: an attack over a data set, its time left, its rows kept, its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.stream import Aim, Attacked, Batch, aim, stream
from struthio.attacks.via import Via
from struthio.audit.same import ROWS, refuse_another_model
from struthio.checks import UserError, positive
from struthio.cli import batch_words, terminal
from struthio.cli.attack import Options
from struthio.cli.classes import find_class
from struthio.cli.network import agreed, chosen_attack, chosen_threat, device, load_network, through
from struthio.cli.remote import agreed_endpoint, endpoint_of, rows_to_attack, said_classes
from struthio.cli.saving import Saving, columns_of
from struthio.cli.tally import Columns, Tally
from struthio.cli.watching import questions
from struthio.data import Samples, load_data
from struthio.data.files import writable_folder
from struthio.goals import abstains
from struthio.meter import BudgetSpent, Ended, ask
from struthio.models import Endpoint, Prepared, prepare
from struthio.shares import percent
from struthio.types import Threat

VALUES = 4_000_000  # input values at once, so that a batch of photographs fits into memory
ROWS_AT_ONCE = 128


@dataclass(frozen=True)
class Job:
    """All that the options name, found and checked before the work begins."""

    options: Options
    attack: Attack
    threat: Threat
    aim: Aim
    model: nn.Module | Prepared
    data: Samples
    stop: int
    batch_size: int
    saving: Saving | None

    @property
    def start(self) -> int:
        """The first row that is still to be attacked."""
        return self.saving.done if self.saving else 0

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows of the data on the model's device; without labels, the model's own answers stand for them."""
        for ids, x, labels in self.data.batches(size, self.start, self.stop):
            x = x.to(_device(self.model))
            yield ids, x, _labels(self.model, x, labels)

    def parts(self) -> Iterator[Attacked]:
        """The attack, batch after batch."""
        return stream(
            self.attack, self.model, self.batches, self.aim, self.threat, seed=self.options.seed,
            batch_size=self.batch_size, budget=self.options.row_budget, rows=self.stop - self.start,
        )  # fmt: skip

    def keep(self, part: Attacked, seconds: float) -> Columns:
        """The columns of a batch, which are on the disk where there is a folder; of one that was cut short, for now."""
        columns = columns_of(part)
        if self.saving and getattr(self.model, "ended", None) is not None:
            self.saving.add_unfinished(columns, part.result.x_adv)
        elif self.saving:
            with self.saving.together():
                self.saving.add(columns, part.result.x_adv)
                self.saving.journal.note("seconds", seconds)
                if isinstance(self.model, Endpoint):
                    self.model.memory.settle()
            self.saving.journal.sync()
        return columns


def run_batch(options: Options) -> int:
    """Attack the data set; gives the exit status: 0 done, 1 the budget is spent, 2 a mistake (in a later row too) or an
    endpoint that is gone, 130 Ctrl-C.
    """
    with ExitStack() as stack:
        return _run(_job(options, stack))


def _run(job: Job) -> int:
    tally, end, seconds = Tally(), 0, _clock(job)
    for columns in job.saving.batches() if job.saving else ():
        tally.add(columns)
    with _progress(job) as advance:
        try:
            for part in job.parts():
                tally.add(job.keep(part, seconds()))
                advance(tally)
        except KeyboardInterrupt:
            end = 130
        except (UserError, Ended) as error:
            if not tally.rows and not (job.saving and job.options.endpoint):
                raise UserError(str(error)) from error
            terminal.error(str(error))
            end = 1 if isinstance(error, BudgetSpent) else 2
    if end:
        kept = f", and kept in {job.options.output}. The same command goes on with the others" if job.saving else ""
        terminal.note(f"stopped: {tally.rows} of {job.stop} rows are done{kept}.")
    found = batch_words.summary(job, tally, seconds(), complete=not end)
    if job.saving:
        job.saving.leave(job.data.names, found)
    if tally.rows:
        batch_words.doubt(tally, job.data.class_names)
        batch_words.tell(job, tally, found)
    return end


def _clock(job: Job) -> Callable[[], float]:
    """The seconds that the job took until now, in earlier runs too."""
    began = time.perf_counter() - (job.saving.journal.noted("seconds", 0.0) if job.saving else 0.0)
    return lambda: time.perf_counter() - began


def _job(options: Options, stack: ExitStack) -> Job:
    if options.model is None and options.endpoint is None:
        raise UserError("which model is attacked was not said. Give --model, such as --model zoo:digits-cnn.")
    if options.model is not None and options.endpoint is not None:
        raise UserError("--endpoint and --model name two models; give one of them.")
    if options.threat is None:
        raise UserError("what may change was not said. Give --threat, such as --threat linf:8/255.")
    for name, value in (
        ("-n", options.count),
        ("--batch-size", options.batch_size),
        ("--row-budget", options.row_budget),
    ):
        if value is not None:
            positive(value, name)
    levels = options.levels is True or (options.endpoint is not None and options.encoding != "floats")
    attack, threat = chosen_attack(options), chosen_threat(options.threat, levels)
    goal = options.goal_text() or "untargeted"
    if options.output is not None:
        writable_folder(options.output)
    model = None if options.model is None else load_network(options, options.model)
    data = load_data(options.data or "", getattr(model, "input_size", None))
    stop = min(rows_to_attack(options), len(data))
    names = getattr(model, "class_names", None) or (_names(options, data) if model is None else None)
    aimed = aim(goal, lambda name: find_class(name, names))
    _, x, labels = next(data.batches(32, stop=stop))
    attack = through(options, attack, x.to(device(options.device)), labels)
    if model is None:
        model = endpoint_of(options, data)
        saving = _saving(options, batch_words.job(options, attack, threat, model, data), stop, stack)
        if saving:
            model.remember(saving.journal)
            _tell_of_earlier(saving, stop, f", and {model.spent()}")
        model = agreed_endpoint(model, x, labels)
    else:
        x = x.to(_device(model))
        saving = _saving(options, batch_words.job(options, attack, threat, model, data), stop, stack)
        if saving:
            sources = {"--via": attack.source} if isinstance(attack, Via) else {}
            ids, first, _ = next(data.batches(ROWS))
            refuse_another_model({"--model": model, **sources}, ids, first.to(x.device), options.seed, saving.journal)
            _tell_of_earlier(saving, stop)
        model = agreed(model, x, labels)
    if labels is None:
        terminal.note("the data has no labels: the model's own answers to the clean rows stand for them.")
    if abstains(model):
        terminal.note("the model may abstain: an input counts only where it is wrong and not flagged.")
    if options.via is None:
        batch_words.doubt_naive(model, attack, x)
    at_once = options.request_size if isinstance(model, Endpoint) else ROWS_AT_ONCE  # more would only be kept later
    size = options.batch_size or max(1, min(at_once, VALUES // x[0].numel()))
    searched = options.via is None and not isinstance(model, Endpoint)  # a model asked once needs no preparing
    ready = _ready(model, x, saving) if options.prepare and searched else model
    return Job(options, attack, threat, aimed, ready, data, stop, size, saving)


def _names(options: Options, data: Samples) -> tuple[str, ...] | None:
    """Of the classes of an endpoint."""
    said = said_classes(options)
    return said if isinstance(said, tuple) else data.class_names


def _saving(options: Options, job: dict[str, Any], stop: int, stack: ExitStack) -> Saving | None:
    """The folder, with the rows of this attack that are there; UserError where these are more than are wanted."""
    if options.output is None:
        return None
    saving = stack.enter_context(Saving(writable_folder(options.output), job))
    if saving.done > stop:
        raise UserError(
            f"{saving.folder} holds {saving.done} finished rows of this attack, and {stop} are asked for. Raise -n, or "
            "name another folder with -o."
        )
    return saving


def _tell_of_earlier(saving: Saving, stop: int, spent: str = "") -> None:
    """Say that the run goes on, where there is anything to go on with."""
    if not saving.journal.empty:
        rest = f"it goes on with the other {stop - saving.done}" if saving.done < stop else "nothing is left to do"
        terminal.note(f"{saving.folder} holds {saving.done} finished rows of this attack{spent}: {rest}.")


def _ready(model: nn.Module, x: Tensor, saving: Saving | None) -> Prepared:
    """The model made faster, alike in every run that goes on with another, so that they compute alike."""
    if saving is None:
        return prepare(model, x)
    ready = prepare(model, x, channels_last=saving.journal.noted("channels_last"))
    saving.journal.note("channels_last", bool(ready.channels_last))
    return ready


def _device(model: nn.Module | Prepared) -> torch.device:
    given = getattr(model, "original", model)
    return next((parameter.device for parameter in given.parameters()), torch.device("cpu"))


@torch.no_grad()
def _labels(model: nn.Module | Prepared, x: Tensor, labels: Tensor | None) -> Tensor:
    if labels is not None:
        return labels.to(x.device)
    outputs = ask(getattr(model, "original", model), x)
    return (outputs[:, :-1] if abstains(model) else outputs).argmax(1)


class _SoFar:
    """What is said beside the bar whenever it is drawn: what is still robust, and how far the batch under way is."""

    def __init__(self, job: Job) -> None:
        self.model, self.robust, self.asked = job.model, "", 0
        self.most = questions(job.attack.attack if isinstance(job.attack, Via) else job.attack)

    def __str__(self) -> str:
        if isinstance(self.model, Endpoint):
            return f"{self.robust}, {self.model.asked:,} inputs sent"
        of = "" if self.most is None else f"/{self.most}"
        return self.robust + (f", asked {min(self.asked, self.most or self.asked)}{of}" if self.asked else "")

    def ask(self, *_: object) -> None:
        """Count a question, as a hook of the model that is searched."""
        self.asked += 1


class _progress:
    """The bar of the job."""

    def __init__(self, job: Job) -> None:
        self.bar, self.so_far = terminal.bar(), _SoFar(job)
        self.task = self.bar.add_task(job.options.attack, total=job.stop, completed=job.start, so_far=self.so_far)
        searched = job.attack.source if isinstance(job.attack, Via) else job.model
        self.hook = searched.register_forward_pre_hook(self.so_far.ask) if isinstance(searched, nn.Module) else None

    def __enter__(self) -> Callable[[Tally], None]:
        self.bar.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self.bar.stop()
        if self.hook:
            self.hook.remove()

    def _advance(self, tally: Tally) -> None:
        self.so_far.robust, self.so_far.asked = f", {percent(tally.robust / tally.rows)} robust", 0
        self.bar.update(self.task, completed=tally.rows)
