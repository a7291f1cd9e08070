"""The batches of an audit, done here or by workers: the first teaches the others which rows a part is worth."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from struthio.audit.batch import Bars, Done, Say, examine_batch
from struthio.audit.chance import repeated
from struthio.audit.findings import NOBODY, Findings
from struthio.audit.job import Job
from struthio.audit.scale import spread
from struthio.audit.setting import Setting
from struthio.rows import RowGenerator

KEPT = 16  # of a batch, how many rows that fell and how many that held are kept as pictures beside their clean ones


def work(
    job: Job,
    setting: Setting,
    text: str,
    plan: dict[str, Any],
    missing: list[int],
    workers: int | str | None,
    say: Say,
) -> Iterator[tuple[int, Kept]]:
    """Each missing batch with what came out of it; the first of all is done here, because the others learn from it.

    Args:
        job: what is audited.
        setting: what was decided.
        text: the threat, by its name in the job.
        plan: what is noted of the threat; the first batch puts its bars there before another is asked for.
        missing: the numbers of the batches to do, in order.
        workers: processes or a Ray cluster, as in `struthio.audit.scale`.
        say: told the part under way, of batches that are done here.
    """
    if missing and missing[0] == 0:
        yield 0, _examined(job, setting, 0, None, say)
        missing = missing[1:]
    if not missing:
        return
    bars = tuple(float(bar) for bar in plan["bars"])

    def here() -> Callable[[int], Kept]:
        return lambda batch: _examined(job, setting, batch, bars, say)

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


def _pictures(done: Done, x: Tensor) -> dict[str, Tensor]:
    """Every input found that brought a row down, and a few rows of either kind beside their clean inputs."""
    found = done.findings
    fell = (found.fell & (found.by >= 0)).nonzero().flatten()
    held = (found.held & (found.by == NOBODY)).nonzero().flatten()
    shown = torch.cat([fell[:KEPT], held[:KEPT]])
    return {
        "ids": found.ids[fell], "x_adv": done.x_adv[fell.to(done.x_adv.device)].cpu(),
        "shown": found.ids[shown], "shown_x": x[shown], "shown_adv": done.x_adv[shown.to(done.x_adv.device)].cpu(),
    }  # fmt: skip
