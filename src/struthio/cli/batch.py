"""`struthio attack --model ... --data ...`: an attack over a data set, its time left, its rows kept, its figures."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.stream import Aim, Batch, aim, stream
from struthio.checks import UserError, positive
from struthio.cli import batch_words, terminal
from struthio.cli.attack import Options
from struthio.cli.classes import find_class
from struthio.cli.earlier import Earlier, earlier, leave
from struthio.cli.network import agreed, chosen_attack, chosen_threat, device, doubt_naive, load_network, through
from struthio.cli.remote import agreed_endpoint, endpoint_of, rows_to_attack, said_classes
from struthio.cli.saving import Saving, columns_of
from struthio.cli.tally import Tally
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
    earlier: Earlier | None

    @property
    def start(self) -> int:
        """The first row that is still to be attacked."""
        return self.earlier.rows.num_rows if self.earlier else 0

    def batches(self, size: int) -> Iterator[Batch]:
        """The rows of the data on the model's device; without labels, the model's own answers stand for them."""
        for ids, x, labels in self.data.batches(size, self.start, self.stop):
            x = x.to(_device(self.model))
            yield ids, x, _labels(self.model, x, labels)


def run_batch(options: Options) -> int:
    """Attack the data set; gives the exit status: 0 done, 1 the budget is spent, 2 a mistake (in a later row too) or an
    endpoint that is gone, 130 Ctrl-C.
    """
    job = _job(options)
    tally, started, end = Tally(), time.perf_counter(), 0
    if job.earlier:
        tally.add(job.earlier.columns())
    finished = tally.rows
    with ExitStack() as stack:
        saving = None
        if options.output is not None:
            before = job.earlier.rows if job.earlier else None
            saving = stack.enter_context(Saving(writable_folder(options.output), job.data.names, before))
        advance = stack.enter_context(_progress(job))
        try:
            for part in stream(
                job.attack,
                job.model,
                job.batches,
                job.aim,
                job.threat,
                seed=options.seed,
                batch_size=job.batch_size,
                budget=options.row_budget,
                rows=job.stop - job.start,
            ):
                columns = columns_of(part)
                tally.add(columns)
                if saving:
                    saving.add(columns, part.result.x_adv)
                if getattr(job.model, "ended", None) is None:
                    finished = tally.rows
                advance(tally)
        except KeyboardInterrupt:
            end = 130
        except (UserError, Ended) as error:
            if not tally.rows and not (saving and options.endpoint):
                raise UserError(str(error)) from error
            terminal.error(str(error))
            end = 1 if isinstance(error, BudgetSpent) else 2
    if end:
        kept = f", and kept in {options.output}" if saving else ""
        further = " The same command goes on with the others." if saving and options.endpoint else ""
        terminal.note(f"stopped: {tally.rows} of {job.stop} rows are done{kept}.{further}")
    found = batch_words.summary(job, tally, time.perf_counter() - started, complete=not end)
    if saving and (tally.rows or options.endpoint):
        saving.summary({**found, "rows_finished": finished})
        if isinstance(job.model, Endpoint):
            leave(saving.folder, job.model, complete=not end)
    if tally.rows:
        batch_words.doubt(tally, job.data.class_names)
        batch_words.tell(job, tally, found)
    return end


def _job(options: Options) -> Job:
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
    attack, before = through(options, attack, x.to(device(options.device)), labels), None
    if model is None:
        model = endpoint_of(options, data)
        before = _earlier(options, batch_words.about(options, attack, threat, model), model, stop)
        _, x, labels = next(data.batches(32, before.rows.num_rows if before else 0, stop))
        model = agreed_endpoint(model, x, labels)
    else:
        x = x.to(_device(model))
        model = agreed(model, x, labels)
    if labels is None:
        terminal.note("the data has no labels: the model's own answers to the clean rows stand for them.")
    if abstains(model):
        terminal.note("the model may abstain: an input counts only where it is wrong and not flagged.")
    if options.via is None:
        doubt_naive(model, attack)
    at_once = options.request_size if isinstance(model, Endpoint) else ROWS_AT_ONCE  # more would only be kept later
    size = options.batch_size or max(1, min(at_once, VALUES // x[0].numel()))
    searched = options.via is None and not isinstance(model, Endpoint)  # a model asked once needs no preparing
    ready = prepare(model, x) if options.prepare and searched else model
    return Job(options, attack, threat, aimed, ready, data, stop, size, before)


def _names(options: Options, data: Samples) -> tuple[str, ...] | None:
    """Of the classes of an endpoint."""
    said = said_classes(options)
    return said if isinstance(said, tuple) else data.class_names


def _earlier(options: Options, about: dict[str, Any], endpoint: Endpoint, stop: int) -> Earlier | None:
    """What an earlier run left in the folder, with which this one goes on."""
    if options.output is None:
        return None
    folder = Path(options.output).expanduser()
    found = earlier(folder, about)
    if found:
        found.go_on(endpoint, folder, stop)
    return found


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
    """What is said beside the bar whenever it is drawn: what is still robust, and what an endpoint was sent."""

    def __init__(self, model: nn.Module | Prepared) -> None:
        self.model, self.robust = model, ""

    def __str__(self) -> str:
        return self.robust + (f", {self.model.asked:,} inputs sent" if isinstance(self.model, Endpoint) else "")


class _progress:
    """The bar of the job."""

    def __init__(self, job: Job) -> None:
        self.bar, self.so_far = terminal.bar(), _SoFar(job.model)
        self.task = self.bar.add_task(job.options.attack, total=job.stop, so_far=self.so_far)

    def __enter__(self) -> Callable[[Tally], None]:
        self.bar.start()
        return self._advance

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def _advance(self, tally: Tally) -> None:
        self.so_far.robust = f", {percent(tally.robust / tally.rows)} robust so far"
        self.bar.update(self.task, completed=tally.rows)
