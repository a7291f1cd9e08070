"""What is audited: a model, its rows and what may change, agreed before the work begins."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from struthio import checks
from struthio._version import __version__
from struthio.attacks.suites import LEVELS
from struthio.audit.asked import rows_and_labels, threats_by_name
from struthio.audit.chance import repeated
from struthio.audit.heard import answers, classes
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.setting import Setting, settle
from struthio.audit.surrogates import Surrogates, check, named
from struthio.certify.certificate import METHODS
from struthio.certify.region import region_of
from struthio.checks import UserError
from struthio.data import Samples
from struthio.describe import describe
from struthio.detectors.guarded import Guarded
from struthio.models import fingerprint
from struthio.rows import RowGenerator
from struthio.types import Model, Threat

VALUES = 4_000_000  # input values at once, so that a batch of photographs fits into memory
ROWS_AT_ONCE = 512  # queries take a forward each, whatever the rows: many at once waste least
FEW = 64  # rows on which the model is examined before


@dataclass(frozen=True)
class Job:
    """What is audited: everything on which the results depend."""

    model: Model
    data: Samples
    spec: str
    threats: Mapping[str, Threat]
    level: str
    rows: int
    batch_size: int
    seed: int
    certify: str
    repair: bool
    stand_ins: Mapping[str, Instead]
    surrogates: Surrogates

    def description(self, name: str | None) -> dict[str, Any]:
        """The job as the store keeps it, so that another one is not mixed in."""
        return {
            "struthio": __version__,
            "model": name or type(self.model).__name__,
            "weights": fingerprint.of_model(self.model),
            "data": self.spec,
            "labels": "of the data" if self.data.y is not None else "the model's own answers",
            "first_rows": fingerprint.of_data(self.data, self.rows),
            "threats": {text: describe(threat) for text, threat in self.threats.items()},
            "level": self.level,
            "rows": self.rows,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "certify": self.certify,
            "repair": self.repair,
            "stand_ins": {part: describe(instead) for part, instead in self.stand_ins.items()},
            "surrogates": {other: fingerprint.of_model(model) for other, model in self.surrogates.items()},
        }

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of one batch: ids, inputs and labels. Without labels, the model's own answers stand for them."""
        first = number * self.batch_size
        ids, x, labels = next(self.data.batches(self.batch_size, first, min(first + self.batch_size, self.rows)))
        x = x.to(self.device)
        for threat in self.threats.values():
            _within(threat, ids, x)
        if labels is not None:
            return ids, x, labels.to(x.device)
        with self._repeated(ids):
            return ids, x, answers(self.model, x, False).clamp(min=0)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        parameters = self.model.parameters() if isinstance(self.model, nn.Module) else iter(())
        return next((parameter.device for parameter in parameters), torch.device("cpu"))

    def batches(self) -> range:
        """Their numbers."""
        return range(-(-self.rows // self.batch_size))

    def setting(self, threat: Threat, channels_last: bool | None = None) -> Setting:
        """Examine the model, repair what is in the way, choose the attacks; the same every time."""
        with self._repeated(torch.arange(1)):
            return self._setting(threat, channels_last)

    def _repeated(self, ids: Tensor) -> AbstractContextManager[None]:
        return repeated(RowGenerator.seeded(self.seed, ids))

    def _setting(self, threat: Threat, channels_last: bool | None) -> Setting:
        ids, x, labels = (part[: 4 * FEW] for part in self.batch(0))
        said = labels[:0]
        while len(said) < len(x) and int((said == labels[: len(said)]).sum()) < FEW:
            said = torch.cat([said, answers(self.model, x[len(said) :][:FEW])])
        right = (said == labels[: len(said)]).nonzero().flatten()[:FEW]
        some = right if len(right) else (said >= 0).nonzero().flatten()[:FEW]
        return settle(
            self.model, x[some], labels[some], threat, level=self.level, seed=self.seed, certify=self.certify,
            stand_ins=self.stand_ins, repair=self.repair, channels_last=channels_last, ids=ids.to(x.device)[some],
            surrogates=self.surrogates,
        )  # fmt: skip


def agreed(
    model: Model,
    data: Samples | tuple[Tensor, Tensor] | str,
    threats: Any,
    level: str,
    rows: int | None,
    batch_size: int | None,
    seed: int,
    certify: str,
    repair: bool,
    stand_ins: Mapping[str, Instead] | None,
    surrogates: Surrogates | Sequence[Model],
) -> Job:
    """Check all that the audit was asked for, before any of it begins. Raises UserError for what cannot be meant."""
    if not callable(model):
        raise UserError(f"the model is {model!r}; a callable is needed. A text is loaded with struthio.load(...).")
    checks.one_of(level, LEVELS, "level")
    checks.one_of(certify, ("auto", "none", *METHODS), "certify")
    checks.whole(seed, "seed")
    _calibrated(model)
    samples = rows_and_labels(data, model)
    if rows is not None:
        checks.count(rows, "rows")
    if batch_size is not None:
        checks.count(batch_size, "batch_size")
    count = len(samples) if rows is None else min(rows, len(samples))
    x = next(samples.batches(1, 0, 1))[1]
    size = batch_size or max(1, min(ROWS_AT_ONCE, VALUES // x[0].numel()))
    tried, others = threats_by_name(threats), named(surrogates)
    spec = data if isinstance(data, str) else samples.name
    job = Job(model, samples, spec, tried, level, count, size, seed, certify, repair, dict(stand_ins or {}), others)
    _, x, _ = job.batch(0)
    for threat in tried.values() if certify in METHODS else ():
        region_of(threat, x[:1])
    known = classes(model, x[:FEW])
    if samples.y is not None and int(samples.y.max()) >= known:
        raise UserError(
            f"the data has labels up to {int(samples.y.max())}, but the model knows classes 0 to {known - 1}. Check "
            "that the data belongs to this model."
        )
    check(others, x[:2], known)
    return job


def _calibrated(model: Model) -> None:
    """Refuse a model behind a detector that would flag nothing."""
    for part in model.modules() if isinstance(model, nn.Module) else ():
        if isinstance(part, Guarded) and bool(part.detector.threshold.isinf()):
            raise UserError(
                f"the detector {type(part.detector).__name__} has no threshold, so that it flags nothing. Call "
                "detector.calibrate(x, fpr=0.05), with clean rows that its fit has not seen."
            )


def _within(threat: Threat, ids: Tensor, x: Tensor) -> None:
    """Refuse rows that the threat does not allow: the first batch at once, of a later one the row by its number."""
    try:
        threat[torch.arange(len(x), device=x.device)].check(x)
    except UserError as error:
        if not ids[0]:
            raise
        for place in range(len(x)):
            try:
                threat[torch.arange(place, place + 1, device=x.device)].check(x[place : place + 1])
            except UserError as worse:
                raise UserError(f"row {int(ids[place])} of the data: {worse}") from error
        raise
