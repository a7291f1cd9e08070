"""All that an audit decides before its first row: what is attacked, how, and who judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from struthio.attacks.base import Attack
from struthio.attacks.suites import Suite
from struthio.audit.chosen import chosen
from struthio.audit.doubts import Doubt, examine
from struthio.audit.doubts.probe import probe
from struthio.audit.repair import Adapted, adapt
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.surrogates import Surrogates, transfer_parts
from struthio.certify.region import region_of
from struthio.checks import UserError
from struthio.goals import abstains
from struthio.models import prepare
from struthio.rows import RowGenerator
from struthio.types import Model, Threat

UNNOTICED = (
    "The model may abstain. A clean row on which it does counts as not right; an adversarial row falls only where it "
    "is wrong and not flagged, and every attack works on both margins jointly."
)
LADDER_ROWS = {"quick": 40, "standard": 50, "thorough": 200, "standard-aa": 0}


@dataclass(frozen=True)
class Setting:
    """How one threat is audited.

    Attributes:
        judge: the model on which every success is decided.
        attacked: what the attacks see: a faster copy, or one in which hidden gradients are laid open.
        exact: whether the attacks' own verdicts are the judge's, so that nothing need be asked twice.
        threat: what may change.
        suite: the attacks, in their order.
        ladder: looks for the smallest change at any radius, on the first rows; None where no attack does.
        ladder_rows: how many rows it gets.
        draws: by how many fresh draws a row is decided; 1 where the model is not random.
        certify: how rows are proved to hold, or "none"; so too where "auto" was asked and no bounds are known for the
            threat.
        seed: of all random numbers.
        doubts: what was found in the model before, each with what was done about it.
        log: what was done to the model.
        abstains: whether the last class is no answer but abstaining (`Guarded`): attacks then have to go unnoticed.
    """

    judge: Model
    attacked: Model
    exact: bool
    threat: Threat
    suite: Suite
    ladder: Attack | None
    ladder_rows: int
    draws: int
    certify: str
    seed: int
    doubts: tuple[Doubt, ...]
    log: tuple[str, ...]
    abstains: bool = False

    @property
    def names(self) -> tuple[str, ...]:
        """What reports call the parts, the ladder last: the index is what `Findings.by` holds."""
        return (*(part.name for part in self.suite), "smallest change")


def settle(
    model: Model,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    *,
    level: str = "standard",
    seed: int = 0,
    certify: str = "auto",
    stand_ins: Mapping[str, Instead] | None = None,
    repair: bool = True,
    channels_last: bool | None = None,
    ids: Tensor | None = None,
    surrogates: Surrogates | None = None,
) -> Setting:
    """Examine a model on a few rows that it gets right, repair what is in the way, and choose the attacks.

    Args:
        model: as given.
        x: a few dozen rows [n, ...].
        labels: their classes, int64 [n].
        threat: what may change.
        level: of the suite.
        seed: of all random numbers.
        certify: "auto", a method of `struthio.certify`, or "none".
        stand_ins: from the name of a part to what its gradient is taken of.
        repair: False attacks the model as it is given, whatever the doubts.
        channels_last: as in `prepare`, so that two runs compute alike to the last bit.
        ids: the numbers of the rows in the whole data.
        surrogates: other models, by name, through which this one is attacked too.
    """
    rows = RowGenerator.seeded(seed, torch.arange(len(x)) if ids is None else ids)
    doubts = examine(model, x, labels, threat, rows)
    if not repair or level == "standard-aa":
        log = ("Nothing was repaired, as asked.",) if doubts else ()
        adapted = Adapted(model, model, log=log, doubts=doubts)
    else:
        adapted = adapt(model, x, labels, threat, doubts, rows, stand_ins)
    unnoticed = abstains(adapted.judge)
    if unnoticed:
        adapted = replace(adapted, log=(*adapted.log, UNNOTICED))
    transfers = transfer_parts(surrogates, x, threat, level) if surrogates else ()
    parts, ladder = chosen(level, adapted, probe(adapted.judge, x, labels, threat, rows), transfers)
    return Setting(
        judge=adapted.judge,
        attacked=prepare(adapted.model, x, channels_last=channels_last) if adapted.draws == 1 else adapted.model,
        exact=adapted.model is model and adapted.draws == 1,
        threat=threat,
        suite=parts,
        ladder=ladder,
        ladder_rows=LADDER_ROWS[level],
        draws=adapted.draws,
        certify="none" if certify == "auto" and not _bounded(threat, x) else certify,
        seed=seed,
        doubts=adapted.doubts,
        log=adapted.log,
        abstains=unnoticed,
    )


def _bounded(threat: Threat, x: Tensor) -> bool:
    """Whether bounds are known for a threat."""
    try:
        region_of(threat, x[:1])
    except UserError:
        return False
    return True
