"""What is audited: a model, its rows and what may change, agreed before the work begins."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from struthio import checks
from struthio._version import __version__
from struthio.attacks.suites import LEVELS
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.setting import Setting, settle
from struthio.checks import UserError
from struthio.data import Samples, load_data
from struthio.describe import describe
from struthio.threats.table import threat as threat_from_text
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

    def description(self, name: str | None) -> dict[str, Any]:
        """The job as the store keeps it, so that another one is not mixed in."""
        return {
            "struthio": __version__,
            "model": name or type(self.model).__name__,
            "weights": _weights(self.model),
            "data": self.spec,
            "first_rows": _first_rows(self.data, self.rows),
            "threats": {text: describe(threat) for text, threat in self.threats.items()},
            "level": self.level,
            "rows": self.rows,
            "batch_size": self.batch_size,
            "seed": self.seed,
            "certify": self.certify,
            "repair": self.repair,
            "stand_ins": {part: describe(instead) for part, instead in self.stand_ins.items()},
        }

    def batch(self, number: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rows of one batch: ids, inputs and labels. Without labels, the model's own answers stand for them."""
        first = number * self.batch_size
        ids, x, labels = next(self.data.batches(self.batch_size, first, min(first + self.batch_size, self.rows)))
        x = x.to(_device(self.model))
        return ids, x, _answers(self.model, x) if labels is None else labels.to(x.device)

    def batches(self) -> range:
        """Their numbers."""
        return range(-(-self.rows // self.batch_size))

    def setting(self, threat: Threat, channels_last: bool | None = None) -> Setting:
        """Examine the model, repair what is in the way, choose the attacks; the same every time."""
        ids, x, labels = (part[: 4 * FEW] for part in self.batch(0))
        right = (_answers(self.model, x) == labels).nonzero().flatten()[:FEW]
        some = right if len(right) else torch.arange(min(FEW, len(x)), device=x.device)
        return settle(
            self.model, x[some], labels[some], threat, level=self.level, seed=self.seed, certify=self.certify,
            stand_ins=self.stand_ins, repair=self.repair, channels_last=channels_last, ids=ids.to(x.device)[some],
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
) -> Job:
    """Check all that the audit was asked for, before any of it begins. Raises UserError for what cannot be meant."""
    checks.one_of(level, LEVELS, "level")
    samples = _samples(data, model)
    if rows is not None:
        checks.count(rows, "rows")
    if batch_size is not None:
        checks.count(batch_size, "batch_size")
    count = len(samples) if rows is None else min(rows, len(samples))
    x = next(samples.batches(1, 0, 1))[1]
    size = batch_size or max(1, min(ROWS_AT_ONCE, VALUES // x[0].numel()))
    named = _named(threats)
    spec = data if isinstance(data, str) else samples.name
    job = Job(model, samples, spec, named, level, count, size, seed, certify, repair, dict(stand_ins or {}))
    _, x, _ = job.batch(0)
    for threat in named.values():
        threat[torch.arange(len(x), device=x.device)].check(x)
    outputs = _outputs(model, x[:2])
    if samples.y is not None and int(samples.y.max()) >= outputs.shape[1]:
        raise UserError(
            f"the data has labels up to {int(samples.y.max())}, but the model knows classes 0 to "
            f"{outputs.shape[1] - 1}. Check that the data belongs to this model."
        )
    return job


def _named(threats: Any) -> dict[str, Threat]:
    if isinstance(threats, Mapping):
        return dict(threats)
    several = threats if isinstance(threats, (list, tuple)) else [threats]
    if not several:
        raise UserError("no threat was named; at least one is needed, such as 'linf:8/255'.")
    return {one if isinstance(one, str) else describe(one): threat_from_text(one) if isinstance(one, str) else one
            for one in several}  # fmt: skip


def _samples(data: Samples | tuple[Tensor, Tensor] | str, model: Model) -> Samples:
    if isinstance(data, str):
        return load_data(data, getattr(model, "input_size", None))
    if isinstance(data, Samples):
        return data
    x, labels = data
    return Samples(x, labels, name=f"{len(x)} rows")


def _weights(model: Model) -> str:
    """A digest of all parameters and buffers; another model is another job."""
    if not isinstance(model, nn.Module):
        return "not an nn.Module"
    digest = hashlib.sha256(str(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def _first_rows(data: Samples, rows: int) -> str:
    """A digest of the first rows and of all their labels."""
    _, x, _ = next(data.batches(8, 0, min(8, rows)))
    digest = hashlib.sha256(x.contiguous().numpy().tobytes())
    if data.y is not None:
        digest.update(data.y[:rows].contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def _device(model: Model) -> torch.device:
    parameters = model.parameters() if isinstance(model, nn.Module) else iter(())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


@torch.no_grad()
def _outputs(model: Model, x: Tensor) -> Tensor:
    outputs = model(x)
    checks.outputs(outputs, len(x))
    return outputs


def _answers(model: Model, x: Tensor) -> Tensor:
    return _outputs(model, x).argmax(1)
