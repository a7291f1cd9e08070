"""Which attacks a model gets: by slopes and in what order, by questions where no slope is, hardly any on a constant."""

from __future__ import annotations

from dataclasses import replace

from struthio.attacks.base import Attack
from struthio.attacks.combine import EachTarget
from struthio.attacks.every_view import EveryView, for_guarded
from struthio.attacks.minimal.fab import FAB, FABT
from struthio.attacks.minimal.fmn import FMN
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.attacks.suites import Part, Suite, suite
from struthio.audit.blind import knows, labels_alone, questions, smallest, spot_check
from struthio.audit.doubts.probe import Probe
from struthio.audit.repair import Adapted
from struthio.detectors.guarded import Guarded
from struthio.goals import abstains
from struthio.gradients import Estimated
from struthio.types import Threat

VIEWED = 3  # wrong classes that are tried on all answers at once
LADDER_STEPS = {"quick": 30, "standard": 100, "thorough": 300, "standard-aa": 0}


def chosen(level: str, adapted: Adapted, asked: Probe, transfers: Suite = ()) -> tuple[Suite, Attack | None]:
    """The attacks in their order, and what looks for the smallest change at any radius (None where nothing does).

    Args:
        level: of the audit.
        adapted: what is attacked, and how.
        asked: the judge on a few rows, in the threat that is audited.
        transfers: attacks by transfer, which cost one question a row.
    """
    threat = asked.threat
    if "constant-answers" in adapted.doubted:
        return (*transfers, *spot_check()), None
    ladder = _ladder(level, threat)
    blind = "no-gradient" in adapted.doubted and isinstance(adapted.gradient, Estimated)
    if blind and adapted.draws == 1 and knows(threat):
        parts = questions(level, threat, labels_alone(asked))
        fitted = (replace(part, attack=adapted.fit(part.attack)) for part in parts)
        return (*transfers, *fitted), _fit(adapted, smallest(level, threat) or ladder)
    late = (*_every_view(adapted, asked), *transfers)
    return _after_slopes(_by_slopes(level, threat, adapted), late), _fit(adapted, ladder)


def _fit(adapted: Adapted, ladder: Attack | None) -> Attack | None:
    fit: Attack | None = None if ladder is None else adapted.fit(ladder)
    return fit


def _by_slopes(level: str, threat: Threat, adapted: Adapted) -> Suite:
    """The suite of a level, with queries for every row where slopes cannot be trusted."""
    parts = suite(level, threat)
    if adapted.queries and not any(part.queries for part in parts):
        parts += tuple(part for part in suite("standard", threat) if part.queries)
    if abstains(adapted.judge):
        parts = _unnoticed(parts, threat)
    return tuple(_fitted(part, adapted) for part in parts)


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


def _every_view(adapted: Adapted, asked: Probe) -> Suite:
    """Against a detector that compares answers, an attack on all of them at once."""
    given, source = adapted.judge, adapted.model
    if not isinstance(given, Guarded) or not isinstance(source, Guarded) or adapted.draws > 1:
        return ()
    if getattr(asked.threat, "norm", None) not in EveryView.norms:
        return ()
    attack = for_guarded(given, source, asked.x[:2])
    return () if attack is None else (Part("every view", EachTarget(attack, VIEWED)),)


def _ladder(level: str, threat: Threat) -> Attack | None:
    steps, norm = LADDER_STEPS[level], getattr(threat, "norm", None)
    if not steps:
        return None
    if norm == "l0":
        return SigmaZero(steps)
    return FMN(steps) if norm in ("linf", "l2", "l1") else None
