"""The last look of an audit: the doubts that only its end can show."""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any

import torch
from torch import Tensor

from struthio.audit.chance import repeated
from struthio.audit.doubts import Doubt, from_answers, from_radii, from_wins, reconsider
from struthio.audit.findings import FAILED
from struthio.audit.heard import Heard, Refused
from struthio.audit.job import Job
from struthio.audit.setting import Setting
from struthio.audit.store import Store
from struthio.failed import Failed
from struthio.rows import RowGenerator


def look_again(job: Job, setting: Setting, text: str, store: Store, plan: dict[str, Any]) -> tuple[Doubt, ...]:
    """Doubts from what was won by which part, from a few rows that held, and from a few at other radii.

    Args:
        job: what is audited.
        setting: what was decided.
        text: the threat, as the store calls it.
        store: with every batch finished.
        plan: what is noted of the threat; a look that the model fails is added to its log.
    """
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
