"""The audit: how robust a model is, between which bounds, with which doubts; it survives being killed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor

from struthio.audit.job import Job, agreed
from struthio.audit.last_look import look_again
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.same import ROWS, refuse_another_model
from struthio.audit.scale import expect
from struthio.audit.store import Store
from struthio.audit.summary import Audit, summarise
from struthio.audit.surrogates import Surrogates
from struthio.audit.work import Kept, work
from struthio.data import Samples
from struthio.describe import describe
from struthio.types import Model, Threat


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
        models = {"model": job.model, **{f"surrogate {name}": other for name, other in job.surrogates.items()}}
        ids, x, _ = next(job.data.batches(ROWS, 0, min(ROWS, job.rows)))
        refuse_another_model(models, ids, x.to(job.device), job.seed, store)
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
    for batch, done in work(job, setting, text, plan, missing, workers, count.say):
        if batch == 0:
            plan["bars"] = [str(bar) for bar in done.bars]
        errors = {**plan.get("errors", {}), **{str(row): what for row, what in done.errors.items()}}
        plan["errors"] = {row: errors[row] for row in sorted(errors, key=int)}
        plan["seconds"] = plan.get("seconds", 0.0) + time.perf_counter() - started
        started = time.perf_counter()
        store.add(text, batch, done.findings, done.pictures, notes={f"plan {text}": plan})  # together, or not at all
        count.add(done)
    tell(Progress(text, "looking for doubts", count.done, job.rows, count.held))
    plan["doubts"] = plan["doubts"] + [asdict(doubt) for doubt in look_again(job, setting, text, store, plan)]
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


@contextmanager
def _folder(folder: str | Path | None) -> Iterator[Path]:
    if folder is not None:
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory() as made:
        yield Path(made)
