"""The audit: how robust a model is, between which bounds, with which doubts; it survives being killed."""

from __future__ import annotations

import pickle
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from struthio.audit.batch import FAILED, Bars, Done, Say, examine_batch
from struthio.audit.chance import repeated
from struthio.audit.doubts import Doubt, from_answers, from_radii, from_wins, reconsider
from struthio.audit.findings import Findings
from struthio.audit.heard import Heard, Refused
from struthio.audit.job import Job, agreed
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.same import refuse_another
from struthio.audit.scale import expect, spread
from struthio.audit.setting import Setting
from struthio.audit.store import Store
from struthio.audit.summary import Audit, summarise
from struthio.audit.surrogates import Surrogates
from struthio.data import Samples
from struthio.describe import describe
from struthio.failed import Failed
from struthio.rows import RowGenerator
from struthio.types import Model, Threat

KEPT = 16  # of a batch, how many rows that fell and how many that held are kept as pictures beside their clean ones


@dataclass(frozen=True)
class Progress:
    """How far an audit is.

    Attributes:
        threat: which is tried.
        part: what is under way.
        done: rows finished under this threat.
        rows: of how many.
        held: of the rows finished, how many still stand.
    """

    threat: str
    part: str
    done: int
    rows: int
    held: int


Tell = Callable[[Progress], None]


def audit(
    model: Model,
    data: Samples | tuple[Tensor, Tensor] | str,
    threats: Threat | str | Sequence[Threat | str] | Mapping[str, Threat],
    *,
    level: str = "standard",
    rows: int | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    folder: str | Path | None = None,
    certify: str = "auto",
    repair: bool = True,
    stand_ins: Mapping[str, Instead] | None = None,
    surrogates: Surrogates | Sequence[Model] = (),
    workers: int | str | None = None,
    name: str | None = None,
    tell: Tell = lambda progress: None,
) -> Audit:
    """Say how robust a model is, between which bounds and with which doubts.

    The model is examined, what hides its gradient is laid open, the attacks of the level follow one another on the rows
    that still stand, every success is confirmed on the model as given, and what held is tried to be proved. Every
    finished batch is on the disk before the next begins; called again with the same folder it goes on from there and
    ends with the same figures, bit for bit.

    Args:
        model: any callable from a batch to class scores, in evaluation mode, with its normalisation inside.
        data: rows and labels: a data set from `load_data` or its text, or (x [n, ...], labels int64 [n]).
        threats: one or several, as objects or texts such as "linf:8/255".
        level: "quick", "standard", "thorough", or "standard-aa" for the published AutoAttack.
        rows: how many of the data, from the first; all where None.
        seed: of all random numbers; they belong to the rows.
        batch_size: rows at once; where None, what fits. Part of the job: results may differ with it in what is learnt
            from the first batch.
        folder: where the findings are kept; None keeps them for the length of the call.
        certify: how rows are proved to hold: "auto", a method of `struthio.certify`, or "none".
        repair: False attacks the model as given, whatever the doubts.
        stand_ins: from the name of a part of the model to what its gradient is taken of (None: the identity).
        surrogates: other models of the same classes, in a list or by name; what attacks make for each of them, and for
            all of them together, is tried on the rows that still stand after attacks by slope.
        workers: processes or a Ray cluster, as in `struthio.audit.scale`.
        name: of the model, for the report.
        tell: told how far the audit is.

    Raises:
        UserError: for arguments that cannot be meant, a folder of another job, a full disk.
        Contradiction: where a row that was proved to hold fell; that is a mistake of Struthio.
    """
    expect(workers)
    job = agreed(model, data, threats, level, rows, batch_size, seed, certify, repair, stand_ins, surrogates)
    with _folder(folder) as place, Store.open(place, job.description(name)) as store:
        refuse_another(job, store)
        store.note("class names", list(job.data.class_names or getattr(model, "class_names", None) or ()))
        for text, threat in job.threats.items():
            _one_threat(job, store, text, threat, workers, tell)
        return summarise(store, kept=folder is not None)


def _one_threat(job: Job, store: Store, text: str, threat: Threat, workers: int | str | None, tell: Tell) -> None:
    """All batches that the store misses, then the doubts that only the end can show."""
    plan = store.noted(f"plan {text}", {})
    if plan.get("finished"):
        return
    started = time.perf_counter()
    tell(Progress(text, "examining the model", 0, job.rows, 0))
    setting = job.setting(threat, plan.get("channels_last"))
    plan = {
        "channels_last": bool(getattr(setting.attacked, "channels_last", False)),
        "names": list(setting.names),
        "access": [part.access for part in setting.suite] + [getattr(setting.ladder, "access", "gradients")],
        "attacks": [describe(part.attack) for part in setting.suite],
        "log": list(setting.log),
        "draws": setting.draws,
        "certify": setting.certify,
        "norm": getattr(threat, "norm", None),
        "eps": float(torch.as_tensor(threat.eps, dtype=torch.float64).max()),
        "doubts": [asdict(doubt) for doubt in setting.doubts],
        **plan,
    }
    store.note(f"plan {text}", plan)
    missing = [batch for batch in job.batches() if batch not in store.done(text)]
    count = _Count(text, job.rows, tell, store)
    for batch, done in _work(job, setting, text, plan, missing, workers, count):
        if batch == 0:
            plan["bars"] = [str(bar) for bar in done.bars]
        errors = {**plan.get("errors", {}), **{str(row): what for row, what in done.errors.items()}}
        plan["errors"] = {row: errors[row] for row in sorted(errors, key=int)}
        plan["seconds"] = plan.get("seconds", 0.0) + time.perf_counter() - started
        started = time.perf_counter()
        store.add(text, batch, done.findings, done.pictures, notes={f"plan {text}": plan})  # together, or not at all
        count.add(done)
    tell(Progress(text, "looking for doubts", count.done, job.rows, count.held))
    plan["doubts"] = plan["doubts"] + [asdict(doubt) for doubt in _afterwards(job, setting, text, store, plan)]
    plan["seconds"] = plan.get("seconds", 0.0) + time.perf_counter() - started
    store.note(f"plan {text}", {**plan, "finished": True})


class _Count:
    """The rows done so far, told as they grow."""

    def __init__(self, text: str, rows: int, tell: Tell, store: Store) -> None:
        self.text, self.rows, self.tell, self.done, self.held = text, rows, tell, 0, 0
        for findings in store.findings(text):
            self.done, self.held = self.done + len(findings), self.held + int(findings.held.sum())

    def say(self, part: str) -> None:
        self.tell(Progress(self.text, part, self.done, self.rows, self.held))

    def add(self, done: Kept) -> None:
        self.done, self.held = self.done + len(done.findings), self.held + int(done.findings.held.sum())
        self.say("")


def _work(
    job: Job,
    setting: Setting,
    text: str,
    plan: dict[str, Any],
    missing: list[int],
    workers: int | str | None,
    count: _Count,
) -> Iterator[tuple[int, Kept]]:
    """Each missing batch with what came out of it; the first of all is done here, because the others learn from it."""
    if missing and missing[0] == 0:
        yield 0, _examined(job, setting, 0, None, count.say)
        missing = missing[1:]
    if not missing:
        return
    bars = tuple(float(bar) for bar in plan["bars"])

    def here() -> Callable[[int], Kept]:
        return lambda batch: _examined(job, setting, batch, bars, count.say)

    alone = str(workers) in ("None", "1")
    yield from spread(
        here if alone else Hand(job, text, bars, _sendable(setting), plan["channels_last"]), missing, workers
    )


@dataclass(frozen=True)
class Kept:
    """What is kept of a batch, wherever it was done: its findings, its pictures, and what `Done` says beside."""

    findings: Findings
    pictures: dict[str, Tensor]
    bars: Bars
    errors: dict[int, str]


def _examined(job: Job, setting: Setting, batch: int, bars: Bars | None, say: Say) -> Kept:
    ids, x, labels = job.batch(batch)
    with repeated(RowGenerator.seeded(job.seed, ids)):
        done = examine_batch(setting, ids, x, labels, bars, say)
    return Kept(done.findings, _pictures(done, x.cpu()), done.bars, done.errors)


@dataclass(frozen=True)
class Hand:
    """What a worker needs to know: called once in each, it gives the function that does one batch."""

    job: Job
    threat: str
    bars: Bars
    setting: Setting | None
    channels_last: bool

    def __call__(self) -> Callable[[int], Kept]:
        """Do batches; where the setting could not be sent, examine the model here too, which gives the same."""
        setting = self.setting or self.job.setting(self.job.threats[self.threat], self.channels_last)
        return lambda batch: _examined(self.job, setting, batch, self.bars, lambda part: None)


def _sendable(setting: Setting) -> Setting | None:
    """The setting, if other processes can have it: what a model brings along, or what was put into it, may not go."""
    try:
        pickle.dumps(setting)
    except Exception:
        return None
    return setting


def _afterwards(job: Job, setting: Setting, text: str, store: Store, plan: dict[str, Any]) -> tuple[Doubt, ...]:
    """Doubts from what was won by which part, from a few rows that held, and from a few at other radii."""
    wins, tried = dict.fromkeys(plan["names"], 0), 0
    held: list[Tensor] = []
    right: list[Tensor] = []
    answers: Counter[tuple[int, int]] = Counter()
    for findings in store.findings(text):
        answers.update(zip(findings.labels.tolist(), findings.predicted.tolist(), strict=True))
        tried += int(findings.correct.sum())
        for number, part in enumerate(plan["names"]):
            wins[part] += int((findings.by == number).sum())
        held.append(findings.ids[findings.held])
        right.append(findings.ids[findings.correct & (findings.by != FAILED)])
    doubts = list(from_wins(wins, dict(zip(plan["names"], plan["access"], strict=True)), max(tried, 1)))
    if job.data.y is not None:
        doubts += from_answers(answers, job.data.class_names)
    attack = next((part.attack for part in setting.suite if part.access != "transfer"), None)
    known = {doubt["name"] for doubt in plan["doubts"]}
    if attack is not None and job.level != "standard-aa" and "constant-answers" not in known:
        few, times = (8, 5) if job.level == "quick" else (16, 10)
        attacked, judge = Heard(setting.attacked), Heard(setting.judge)
        for look, among in ((from_radii, right), (partial(reconsider, times=times), held)):
            x, labels = _rows(job, torch.cat(among)[:few])
            try:
                with repeated(RowGenerator.seeded(job.seed, torch.arange(1))):
                    doubts += look(attacked, x, labels, setting.threat, attack, job.seed + 1, judge, setting.draws)
            except (Refused, Failed) as error:  # elsewhere such a row is set apart; here the look is given up
                plan["log"] = [*plan["log"], f"Not all doubts could be looked for at the end: {error}"]
    return tuple(doubt for doubt in doubts if doubt.name not in known)


def _rows(job: Job, ids: Tensor) -> tuple[Tensor, Tensor]:
    """The inputs and labels of some rows by their numbers; empty ones for none."""
    batches = [job.batch(int(batch)) for batch in (ids // job.batch_size).unique()] or [job.batch(0)]
    seen, x, labels = (torch.cat(parts) for parts in zip(*batches, strict=True))
    some = torch.isin(seen, ids).nonzero().flatten().to(x.device)
    return x[some], labels[some]


def _pictures(done: Done, x: Tensor) -> dict[str, Tensor]:
    """Every input found that brought a row down, and a few rows of either kind beside their clean inputs."""
    found = done.findings
    fell = (found.fell & (found.by >= 0)).nonzero().flatten()
    held = (found.held & (found.by == -1)).nonzero().flatten()
    shown = torch.cat([fell[:KEPT], held[:KEPT]])
    return {
        "ids": found.ids[fell], "x_adv": done.x_adv[fell.to(done.x_adv.device)].cpu(),
        "shown": found.ids[shown], "shown_x": x[shown], "shown_adv": done.x_adv[shown.to(done.x_adv.device)].cpu(),
    }  # fmt: skip


@contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
