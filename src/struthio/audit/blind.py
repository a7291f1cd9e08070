"""What is run on a model without gradient: questions first, estimated slopes on the few rows that come nearest."""

from __future__ import annotations

import torch

from struthio.attacks.auto import APGD
from struthio.attacks.base import Attack
from struthio.attacks.queries.hop_skip_jump import HopSkipJump
from struthio.attacks.queries.random_search import RandomSearch
from struthio.attacks.queries.rays import RayS
from struthio.attacks.queries.square import Square
from struthio.attacks.suites import Part, Suite
from struthio.audit.doubts.answers import looks_like_labels
from struthio.audit.doubts.probe import Probe
from struthio.losses import Margin
from struthio.types import Threat

NORMS = ("linf", "l2", "l1")
WALKS: dict[str | None, type[RayS | HopSkipJump]] = {"linf": RayS, "l2": HopSkipJump}  # those that see labels alone
SQUARES = {"quick": (1000, 3000), "standard": (3000, 5000), "thorough": (5000, 10_000)}  # on all, and on a quarter
STEPS = {"quick": 8, "standard": 20, "thorough": 50}  # along estimated slopes, some hundred questions each, on a tenth
LABELS = {"quick": (400, 2000), "standard": (1000, 5000), "thorough": (2000, 10_000)}  # on all, and on what stands
SMALLEST = {"quick": 400, "standard": 2000, "thorough": 5000}
SPOT = 100  # questions about a row of a model that answers everything alike


def knows(threat: Threat) -> bool:
    """Whether questions are known to do better here than estimated slopes."""
    return _norm(threat) in NORMS


def questions(level: str, threat: Threat, labels: bool) -> Suite:
    """The attacks on a model that gives scores, or labels alone. On scores, squares find in a third of the questions
    all that estimated slopes find; labels tell squares nothing, and a walk along the boundary all that can be known.

    Args:
        level: "quick", "standard" or "thorough".
        threat: a ball in Linf, L2 or L1; in L1 labels are asked about by squares, too.
        labels: whether the scores are labels alone (`labels_alone`).
    """
    walk = WALKS.get(_norm(threat)) if labels else None
    if walk is not None:
        few, many = LABELS[level]
        return Part("labels", walk(few)), Part("more labels", walk(many))
    few, many = SQUARES[level]
    return (
        Part("square", Square(few, rescale_schedule=True)),
        Part("more squares", Square(many, rescale_schedule=True), share=0.25),
        Part("estimated slopes", APGD(STEPS[level], loss=Margin()), share=0.1),
    )


def spot_check() -> Suite:
    """A few questions about each row of a model that seems to answer everything alike."""
    return (Part("random search", RandomSearch(SPOT)),)


def smallest(level: str, threat: Threat) -> Attack | None:
    """Looks for the smallest change by labels; None where no attack does."""
    walk = WALKS.get(_norm(threat))
    return None if walk is None else walk(SMALLEST[level])


def labels_alone(probe: Probe) -> bool:
    """Whether a model gives labels in the place of scores, on the rows and on noise around them."""
    noisy = probe.threat.apply(probe.x, probe.nearby(1.0, 360))
    return looks_like_labels(torch.cat([probe.clean, probe.ask(noisy)]))


def _norm(threat: Threat) -> str | None:
    return getattr(threat, "norm", None)
