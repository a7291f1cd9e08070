"""What an audit says about one threat: counted a batch at a time, in memory that does not grow with the rows."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from struthio.audit.doubts import Doubt
from struthio.audit.findings import FAILED, Findings
from struthio.detectors.roc import Roc, roc
from struthio.shares import Share
from struthio.threats import BALLS

POINTS = 40  # of the curve
KEPT = 10_000  # rows of which single numbers are kept


@dataclass
class Count:
    """What is counted of some rows.

    Attributes:
        rows: how many.
        correct: of these, the clean input is right.
        held: nothing brought them down: no attack left more.
        certified: proved to hold: no attack can leave less.
        failed: on these the model raised an error; they count as fallen.
    """

    rows: int = 0
    correct: int = 0
    held: int = 0
    certified: int = 0
    failed: int = 0

    def add(self, findings: Findings) -> None:
        """Count some more."""
        self.rows += len(findings)
        self.correct += int(findings.correct.sum())
        self.held += int(findings.held.sum())
        self.certified += int((findings.certified & findings.correct).sum())
        self.failed += int((findings.by == FAILED).sum())

    def figures(self) -> dict[str, Any]:
        """For machines."""
        clean, upper, lower = (Share(count, self.rows) for count in (self.correct, self.held, self.certified))
        return {
            "rows": self.rows,
            "clean_accuracy": clean.figures(),
            "robust_accuracy_at_most": upper.figures(),
            "robust_accuracy_at_least": lower.figures(),
            "failed": self.failed,
        }


@dataclass
class Verdict:
    """What an audit says about one threat.

    Attributes:
        count: of all rows.
        classes: of each class, by its number.
        wins: how many rows each part of the suite brought down.
        smallest: the smallest changes found at any radius, of the first rows of the data, in their order; infinite
            where none was found, 0 for clean mistakes.
        sizes: of the changes that won within the radius, of at most 10,000 rows.
        suspicion: of clean rows, how far abstaining is above the strongest class, where the model may abstain; of at
            most 10,000 rows.
        suspicion_adv: of the inputs found that make the strongest class a wrong one, flagged or not; likewise.
        forwards: of all rows.
        backwards: of all rows.
        seconds: that it took, all sittings together.
        eps: the radius.
        norm: of the threat, as attacks name it; None where it has none.
        doubts: what speaks against the figures.
        log: what was done to the model before it was attacked.
        attacks: the suite.
        draws: by how many draws a row was decided.
        certify: how rows were tried to be proved, or "none".
        errors: what the model said on rows where it failed, by their ids.
    """

    count: Count = field(default_factory=Count)
    classes: dict[int, Count] = field(default_factory=dict)
    wins: dict[str, int] = field(default_factory=dict)
    smallest: list[float] = field(default_factory=list)
    sizes: list[float] = field(default_factory=list)
    suspicion: list[float] = field(default_factory=list)
    suspicion_adv: list[float] = field(default_factory=list)
    forwards: int = 0
    backwards: int = 0
    seconds: float = 0.0
    eps: float = math.nan
    norm: str | None = None
    doubts: tuple[Doubt, ...] = ()
    log: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    draws: int = 1
    certify: str = "auto"
    errors: Mapping[str, str] = field(default_factory=dict)

    @property
    def p(self) -> float | None:
        """Of the threat's norm: infinite, 2, 1 or 0; None where it is no ball."""
        return BALLS[self.norm].p if self.norm in BALLS else None

    @property
    def clean(self) -> Share:
        """Clean accuracy."""
        return Share(self.count.correct, self.count.rows)

    @property
    def at_most(self) -> Share:
        """Robust accuracy is at most this: no attack that was run left more."""
        return Share(self.count.held, self.count.rows)

    @property
    def at_least(self) -> Share:
        """Robust accuracy is at least this on these rows: it was proved."""
        return Share(self.count.certified, self.count.rows)

    def add(self, findings: Findings, names: list[str]) -> None:
        """Count one more batch."""
        self.count.add(findings)
        for label in findings.labels.unique().tolist():
            self.classes.setdefault(label, Count()).add(findings[findings.labels == label])
        for number, name in enumerate(names):
            self.wins[name] = self.wins.get(name, 0) + int((findings.by == number).sum())
        self.smallest += findings.smallest[~findings.smallest.isnan()].tolist()
        self.sizes += findings.size[findings.by >= 0].tolist()[: KEPT - len(self.sizes)]
        for name in ("suspicion", "suspicion_adv"):
            kept, values = getattr(self, name), getattr(findings, name)
            kept += values[~values.isnan()].tolist()[: KEPT - len(kept)]
        self.forwards += int(findings.forwards.sum())
        self.backwards += int(findings.backwards.sum())

    def curve(self) -> list[tuple[float, float]]:
        """Radii from 0 to where nothing stands, each with the share of the first rows that no change so small beat."""
        if not self.smallest:
            return []
        sizes = torch.tensor(self.smallest, dtype=torch.float64)
        finite = sizes[sizes.isfinite()]
        last = float(finite.max()) if len(finite) else self.eps
        if not math.isfinite(last) or last <= 0:
            last = 1.0
        radii = torch.linspace(0, last, POINTS, dtype=torch.float64).tolist()
        if 0 < self.eps < last:
            radii = sorted({*radii, self.eps})
        return [(radius, float((sizes > radius).double().mean())) for radius in radii]

    @property
    def median(self) -> float:
        """The median smallest change of the first rows whose clean input is right; NaN where none was sought."""
        right = [size for size in self.smallest if size > 0]
        return statistics.median(right) if right else math.nan

    @property
    def roc(self) -> Roc | None:
        """What a detector flags of the inputs found, against clean rows, over all thresholds; the one that is set is 0.

        None where the model cannot abstain, or nothing was found.
        """
        if not self.suspicion or not self.suspicion_adv:
            return None
        return roc(*(torch.tensor(some, dtype=torch.float64) for some in (self.suspicion, self.suspicion_adv)))

    @property
    def flagged(self) -> tuple[Share, Share]:
        """Of clean rows and of the inputs found, those on which the model abstains."""
        clean, found = (Share(sum(one > 0 for one in some), len(some)) for some in (self.suspicion, self.suspicion_adv))
        return clean, found

    def figures(self) -> dict[str, Any]:
        """For machines: plain numbers, lists and texts."""
        return {
            **self.count.figures(),
            "eps": _plain(self.eps),
            "per_class": {str(label): count.figures() for label, count in sorted(self.classes.items())},
            "wins": self.wins,
            "clean_mistakes": self.count.rows - self.count.correct - self.count.failed,
            "curve": [list(point) for point in self.curve()],
            "curve_rows": len(self.smallest),
            "median_smallest_change": _plain(self.median),
            "detection": self._detection(),
            "forwards": self.forwards,
            "backwards": self.backwards,
            "seconds": self.seconds,
            "draws": self.draws,
            "attacks": list(self.attacks),
            "repairs": list(self.log),
            "errors": dict(self.errors),
            "doubts": [
                {
                    "name": doubt.name, "title": doubt.title, "evidence": doubt.evidence, "meaning": doubt.meaning,
                    "remedy": doubt.remedy, "numbers": {name: _plain(value) for name, value in doubt.numbers.items()},
                }
                for doubt in self.doubts
            ],
        }  # fmt: skip

    def _detection(self) -> dict[str, Any] | None:
        """The ROC curve for machines, and what the threshold that is set flags."""
        curve = self.roc
        if curve is None:
            return None
        clean, found = self.flagged
        return {
            "auc": curve.auc,
            "clean_flagged": clean.figures(),
            "adversarial_flagged": found.figures(),
            "roc": curve.corners().tolist(),
        }


def _plain(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
