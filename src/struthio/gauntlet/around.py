"""Defences around or inside a network that is there already: they hide the slope, or answer by chance."""

from __future__ import annotations

from typing import Any

from torch import nn

from struthio.defenses.nearest import NearestNeighbours
from struthio.defenses.rbf import RBF
from struthio.defenses.registry import defended, defense_class
from struthio.defenses.thermometer import Thermometer
from struthio.defenses.training import Course
from struthio.gauntlet.networks import network, plain
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop

ATHALYE = "Athalye, Carlini, Wagner, 2018, arXiv 1802.00420"
TRANSFORMED = Known(0.0, "ImageNet, L2 0.05", ATHALYE)
HE = Known(None, "ensembles of weak defences are weak", "He et al., 2017, arXiv 1706.04701")
FREE = ("gradient-free-part",)
CHANCE = ("random-outputs",)


def thermometer(shop: Workshop) -> nn.Module:
    """A network that was trained behind a thermometer."""
    return shop.network("thermometer", lambda: nn.Sequential(Thermometer(16), network(channels=16)))


def winners(shop: Workshop) -> nn.Module:
    """A network that was trained with k-winners-take-all in the place of its ReLUs, one value in ten a winner."""
    return shop.network("k-wta", lambda: defended(network(), "k-wta", share=0.1))


def noisy(shop: Workshop) -> nn.Module:
    """A network that was trained with noise before each convolution."""
    return shop.network("rse", lambda: defended(network(), "rse", passes=3))


def nearest(shop: Workshop) -> nn.Module:
    """The nearest of 1,000 digits, pixel by pixel."""
    x, y = (part[:1000] for part in shop.rows())
    return nn.Sequential(NearestNeighbours().fit(x, y))


def radial(shop: Workshop) -> nn.Module:
    """One radial unit a class, on pixels."""

    def learn(model: nn.Module) -> nn.Module:
        return RBF().fit(*shop.rows(), course=Course(5, lr=1e-2, seed=shop.seed))

    return nn.Sequential(shop.kept("rbf", RBF, learn))


def _around(name: str, what: str, known: Known, *doubts: str, **options: Any) -> Row:
    """A defence of the registry, put around the plain network."""

    def make(shop: Workshop) -> nn.Module:
        return defended(plain(), name, **options)

    return Row(what, make, defense_class(name).paper, known, frozenset(doubts))


def _trained(name: str, what: str, make: Any, known: Known, *doubts: str, **more: Any) -> Row:
    """A defence of the registry in a network that was trained with it."""
    return Row(what, make, defense_class(name).paper, known, frozenset(doubts), **more)


AROUND: dict[str, Row] = {
    "jpeg": _around("jpeg", "JPEG", TRANSFORMED, *FREE, quality=50),
    "bit-depth": _around("bit-depth", "four grey levels", TRANSFORMED, *FREE, bits=2),
    "total-variation": _around("total-variation", "least total variation", TRANSFORMED, *FREE, *CHANCE, steps=20),
    "median": _around("median", "median of 3 x 3 pixels", HE, size=3),
    "squeezing": _around("squeezing", "feature squeezing", HE, *FREE, bits=2),
    "thermometer": _trained(
        "thermometer", "thermometer coding", thermometer, Known(0.0, "CIFAR-10, Linf 0.031", ATHALYE), *FREE
    ),
    "resize-pad": _around(
        "resize-pad", "random resize and pad", Known(0.0, "ImageNet, Linf 0.031", ATHALYE), *CHANCE
    ),
    "dropout-at-test": _around("dropout", "dropout at test", Known(None, "falls to EOT", ATHALYE), *CHANCE, p=0.3),
    "sap": _around(
        "sap", "stochastic activation pruning", Known(0.0, "CIFAR-10, Linf 0.031", ATHALYE), *CHANCE,
        form="independent",
    ),
    "rse": _trained("rse", "random self-ensemble", noisy, Known(None, "falls to EOT", ATHALYE), *CHANCE),
    "k-wta": _trained(
        "k-wta", "k winners take all", winners, Known(None, "near 0 %", "Pintor et al., 2022, arXiv 2106.09947"),
        "shattered-gradient", threat="linf:0.2",  # at 0.3 the naive attack wins all
    ),
    "nearest": Row(
        "nearest neighbour", nearest, NearestNeighbours.paper,
        Known(None, "falls to transfer", NearestNeighbours.paper), frozenset(("no-gradient", *FREE)),
    ),
    "rbf": Row("radial units", radial, RBF.paper, Known(None, "unsure, and still wrong", RBF.paper)),
}  # fmt: skip
