"""Networks behind detectors: an input that is flagged is not answered, and so does not count as fallen."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from torch import nn

from struthio.defenses.training import Course
from struthio.detectors.any_of import AnyOf
from struthio.detectors.guarded import Guarded
from struthio.detectors.magnet import ReconstructionError
from struthio.detectors.registry import detector_class
from struthio.gauntlet.around import ATHALYE
from struthio.gauntlet.bits import out_of_reach
from struthio.gauntlet.learned import reformed
from struthio.gauntlet.networks import plain
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop
from struthio.threats import Linf

TEN = "Carlini, Wagner, 2017, arXiv 1705.07263"
BOTH = Known(None, "falls to an attack on both", TEN)


def behind(name: str, **options: Any) -> Callable[[Workshop], nn.Module]:
    """The plain network behind a detector of the registry."""
    return lambda shop: shop.guarded(name, detector_class(name)(**options), plain(), Linf(0.3))


def alone(model: nn.Module) -> nn.Module:
    """The network without its detector: what an attacker sees who does not know of it."""
    return cast(Guarded, model).model


def reformed_and_judged(shop: Workshop) -> nn.Module:
    """MagNet: the reformer before the network, and two reconstruction errors around both."""
    course = Course(6, lr=3e-3, seed=shop.seed)
    parts = ReconstructionError(2.0, (8, "average", 8), course=course), ReconstructionError(1.0, (8,), course=course)
    return shop.guarded("magnet", AnyOf(parts), reformed(shop), Linf(0.25))


def _row(
    name: str, what: str, doubts: tuple[str, ...] = (), known: Known = BOTH, beyond: Any = None, **options: Any
) -> Row:
    paper = detector_class(name).paper
    return Row(what, behind(name, **options), paper, known, frozenset(doubts), seen=alone, beyond=beyond)


JUDGED: dict[str, Row] = {
    "n-plus-one": _row("n-plus-one", "one more class, for what is attacked"),
    "binary-input": _row("binary-input", "a second network that looks for attacks"),
    "binary-layer": _row("binary-layer", "the same on activations"),
    "pca-tail": _row("pca-tail", "the last principal components"),
    "dropout-uncertainty": _row("dropout-uncertainty", "uncertainty under dropout", ("random-outputs",), passes=5),
    "consistency": _row("consistency", "agreement under random views", ("random-outputs",), passes=5),
    "squeezing-gap": _row(
        "squeezing-gap",
        "the gap to squeezed inputs",
        known=Known(None, "weak", "He et al., 2017, arXiv 1706.04701"),
        beyond=out_of_reach,
    ),
    "magnet-whole": Row(
        "MagNet: its reformer, and two detectors as one",
        reformed_and_judged,
        AnyOf.paper,
        Known(0.01, "MNIST, by transfer", "Carlini, Wagner, 2017, arXiv 1711.08478"),
        threat="linf:0.25",
        seen=alone,
    ),
    "lid": _row("lid", "local intrinsic dimension", known=Known(0.05, "CIFAR-10, Linf 0.031", ATHALYE)),
    "mahalanobis": _row("mahalanobis", "Mahalanobis distance", known=Known(None, "no break was read", "")),
    "kernel-density": _row("kernel-density", "kernel density of features", passes=0),
    "safety-net": _row("safety-net", "an SVM on quantised codes", known=Known(None, "no break was read", "")),
}
