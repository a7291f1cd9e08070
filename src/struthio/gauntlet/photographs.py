"""Some of the defences again on small photographs, around a narrow residual network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from struthio.attacks import PGD
from struthio.defenses.registry import defended, defense_class
from struthio.gauntlet.around import ATHALYE, CHANCE, FREE
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.trained import CROCE
from struthio.gauntlet.workshop import Workshop
from struthio.threats import Linf
from struthio.train.mixing import Mixing
from struthio.train.pgd_at import PGDAT
from struthio.train.recipe import Recipe
from struthio.zoo.cifar import wide_resnet

CIFAR = Linf(8 / 255)
THREAT = "linf:8/255"


def residual(shop: Workshop, name: str = "cifar", recipe: Recipe | None = None, **plan: Any) -> nn.Module:
    """A residual network of ten layers, 78,000 weights, trained for a few passes over 5,000 photographs."""
    options = {"epochs": 4, "batch": 50, "flip": True, **plan}
    return shop.network(name, lambda: wide_resnet(10, 1), recipe, "cifar", **options)


def robust(shop: Workshop) -> nn.Module:
    """The same, trained by PGD."""
    return residual(shop, "cifar-pgd-at", PGDAT(threat=CIFAR, attack=PGD(steps=4, step=0.4, keep="last")))


def one_step(shop: Workshop) -> nn.Module:
    """The same, with one gradient sign in half of the batch: always of one length, so that it is learnt by heart."""
    recipe = Mixing(threat=Linf(32 / 255), lam=1.0, spread=None, aim="true")
    return residual(shop, "cifar-fgsm-at", recipe, epochs=5)


def _row(what: str, make: Callable[[Workshop], nn.Module], paper: str, known: Known, *doubts: str, **more: Any) -> Row:
    return Row(what, make, paper, known, frozenset(doubts), THREAT, data="cifar", **more)


def _around(name: str, what: str, known: Known, *doubts: str, **options: Any) -> Row:
    return _row(what, lambda shop: defended(residual(shop), name, **options), defense_class(name).paper, known, *doubts)


TRANSFORMED = Known(0.0, "ImageNet, L2 0.05", ATHALYE)
PHOTOGRAPHS: dict[str, Row] = {
    "cifar-pgd-at": _row(
        "adversarial training by PGD", robust, PGDAT.paper, Known(0.4404, "CIFAR-10, Linf 8/255, AutoAttack", CROCE),
        sound=True,
    ),
    "cifar-none": _row("no defence", residual, "", Known(0.0, "CIFAR-10, Linf 8/255, AutoAttack", CROCE)),
    "cifar-fgsm-at": _row(
        "adversarial training by FGSM",
        one_step,
        Mixing.paper,
        Known(0.0, "CIFAR-10, Linf 8/255, AutoAttack", "Andriushchenko, Flammarion, 2020, arXiv 2007.02617"),
    ),
    "cifar-jpeg": _around("jpeg", "JPEG", TRANSFORMED, *FREE),
    "cifar-bit-depth": _around("bit-depth", "eight levels", TRANSFORMED, *FREE),
    "cifar-resize-pad": _around(
        "resize-pad", "random resize and pad", Known(0.0, "ImageNet, Linf 0.031", ATHALYE), *CHANCE
    ),
    "cifar-noise": _around(
        "noise", "Gaussian noise on the input", Known(None, "falls to EOT", ATHALYE), *CHANCE, sigma=0.05
    ),
}  # fmt: skip
