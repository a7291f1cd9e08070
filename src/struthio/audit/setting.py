"""All that an audit decides before its first row: what is attacked, how, and who judges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from struthio.attacks.base import Attack
from struthio.attacks.minimal.fab import FAB, FABT
from struthio.attacks.minimal.fmn import FMN
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.attacks.suites import Part, Suite, suite
from struthio.audit.doubts import Doubt, examine
from struthio.audit.repair import Adapted, adapt
from struthio.audit.repair.stand_ins import Instead
from struthio.audit.surrogates import Surrogates, transfer_parts
from struthio.certify.region import region_of
from struthio.checks import UserError
from struthio.goals import abstains
from struthio.models import prepare
from struthio.rows import RowGenerator
from struthio.types import Model, Threat

LADDER_STEPS = {"quick": 30, "standard": 100, "thorough": 300, "standard-aa": 0}
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
    chosen = suite(level, threat)
    ladder = _ladder(level, threat)
    if not repair or level == "standard-aa":
        log = ("Nothing was repaired, as asked.",) if doubts else ()
        adapted = Adapted(model, model, log=log, doubts=doubts)
    else:
        adapted = adapt(model, x, labels, threat, doubts, rows, stand_ins)
    if adapted.queries and not any(part.queries for part in chosen):
        chosen += tuple(part for part in suite("standard", threat) if part.queries)
    unnoticed = abstains(adapted.judge)
    if unnoticed:
        chosen, adapted = _unnoticed(chosen, threat), replace(adapted, log=(*adapted.log, UNNOTICED))
    fitted = tuple(_fitted(part, adapted) for part in chosen)
    if surrogates:
        fitted = _after_slopes(fitted, transfer_parts(surrogates, x, threat, level))
    return Setting(
        judge=adapted.judge,
        attacked=prepare(adapted.model, x, channels_last=channels_last) if adapted.draws == 1 else adapted.model,
        exact=adapted.model is model and adapted.draws == 1,
        threat=threat,
        suite=fitted,
        ladder=None if ladder is None else adapted.fit(ladder),
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


def _fitted(part: Part, adapted: Adapted) -> Part:
    """The part as it fits the model; where slopes cannot be trusted, queries go to every row that is left."""
    if adapted.queries and part.queries:
        return replace(part, attack=adapted.fit(part.blind or part.attack), share=1.0)
    return replace(part, attack=adapted.fit(part.attack))


def _after_slopes(parts: Suite, transfers: Suite) -> Suite:
    """The suite with transfers after the attacks by slope and before those by queries, which cost far more."""
    slopes = tuple(part for part in parts if part.access == "gradients")
    return (*slopes, *transfers, *(part for part in parts if part.access != "gradients"))


def _unnoticed(parts: Suite, threat: Threat) -> Suite:
    """The suite against a model that abstains.

    Steps that shrink find the narrow place between two walls where steps along the ball leap from one to the other, so
    FMN comes first. Targeted FAB knows the wall to one class alone; FAB takes the joint margin for its wall.
    """
    fab = tuple(
        replace(part, name="fab", attack=FAB(part.attack.steps, restarts=5)) if isinstance(part.attack, FABT) else part
        for part in parts
    )
    shrinks = getattr(threat, "norm", None) in FMN.norms
    return (Part("fmn", FMN(100)), *fab) if shrinks else fab


def _ladder(level: str, threat: Threat) -> Attack | None:
    steps, norm = LADDER_STEPS[level], getattr(threat, "norm", None)
    if not steps:
        return None
    if norm == "l0":
        return SigmaZero(steps)
    return FMN(steps) if norm in ("linf", "l2", "l1") else None
