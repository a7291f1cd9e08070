"""The figures of an audit, over all its threats, counted from its store a batch at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from struthio.audit.doubts import Doubt
from struthio.audit.findings import FAILED, Findings
from struthio.audit.store import Store
from struthio.audit.verdict import Count, Verdict
from struthio.shares import Share


@dataclass(frozen=True)
class Audit:
    """How robust a model is.

    Attributes:
        threats: the verdict on each threat, by its text.
        worst: over all threats at once: rows that held under every one of them; None where there is only one threat.
        job: what was audited and how.
        folder: where the findings are, or None.
    """

    threats: Mapping[str, Verdict]
    worst: Count | None
    job: Mapping[str, Any]
    folder: Path | None

    @property
    def verdict(self) -> Verdict:
        """The verdict on the only threat. Raises ValueError where there are several."""
        (verdict,) = self.threats.values()
        return verdict

    @property
    def doubts(self) -> tuple[Doubt, ...]:
        """All doubts, each kind once."""
        return tuple({doubt.name: doubt for verdict in self.threats.values() for doubt in verdict.doubts}.values())

    @property
    def at_most(self) -> Share:
        """Robust accuracy under all threats is at most this."""
        return self.verdict.at_most if self.worst is None else Share(self.worst.held, self.worst.rows)

    @property
    def at_least(self) -> Share:
        """Robust accuracy under all threats is at least this on these rows."""
        return self.verdict.at_least if self.worst is None else Share(self.worst.certified, self.worst.rows)

    def figures(self) -> dict[str, Any]:
        """For machines."""
        return {
            "job": dict(self.job),
            "threats": {text: verdict.figures() for text, verdict in self.threats.items()},
            "worst": None if self.worst is None else self.worst.figures(),
        }

    def __repr__(self) -> str:
        lines = [
            f"{text}: robust accuracy at most {verdict.at_most.share:.1%}, at least {verdict.at_least.share:.1%} "
            f"of {verdict.count.rows} rows, {len(verdict.doubts)} doubt{'s' * (len(verdict.doubts) != 1)}"
            for text, verdict in self.threats.items()
        ]
        return f"Audit({'; '.join(lines)})"


def summarise(store: Store, kept: bool = True) -> Audit:
    """Count everything that a store holds, in memory that does not grow with its rows.

    Args:
        store: of an audit, finished or not.
        kept: whether its folder outlives the call.
    """
    plans = {text: store.noted(f"plan {text}", {}) for text in store.job["threats"]}
    verdicts = {text: _verdict(store, text, plan) for text, plan in plans.items() if store.done(text)}
    worst = None
    if len(verdicts) > 1:
        worst, everywhere = Count(), set.intersection(*(store.done(text) for text in verdicts))
        for together in zip(*(_of(store, text, everywhere) for text in verdicts), strict=True):
            worst.add(_worst(list(together)))
    return Audit(verdicts, worst, store.job, store.folder if kept else None)


def _verdict(store: Store, text: str, plan: dict[str, Any]) -> Verdict:
    verdict = Verdict(
        seconds=plan.get("seconds", 0.0),
        eps=plan.get("eps", math.nan),
        norm=plan.get("norm"),
        doubts=tuple(Doubt(**doubt) for doubt in plan.get("doubts", ())),
        log=tuple(plan.get("log", ())),
        attacks=tuple(plan.get("attacks", ())),
        draws=plan.get("draws", 1),
        certify=plan.get("certify", store.job["certify"]),
        errors=plan.get("errors", {}),
    )
    for findings in store.findings(text):
        verdict.add(findings, plan["names"])
    return verdict


def _of(store: Store, text: str, batches: set[int]) -> Iterator[Findings]:
    """The findings of these batches alone, in order; workers finish others out of it."""
    for batch, findings in zip(sorted(store.done(text)), store.findings(text), strict=True):
        if batch in batches:
            yield findings


def _worst(several: list[Findings]) -> Findings:
    """The same rows under several threats: held where all held, proved where all were proved."""
    first = several[0]
    fell: Tensor = torch.stack([one.fell for one in several]).any(0)
    certified = torch.stack([one.certified for one in several]).all(0)
    failed = torch.stack([one.by == FAILED for one in several]).any(0)
    by = torch.where(failed, FAILED, first.by)
    return Findings(**{**vars(first), "fell": fell, "certified": certified, "by": by})
