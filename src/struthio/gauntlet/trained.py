"""Defences that lie in how a network is trained: two that hold, and some that were called robust for a while."""

from __future__ import annotations

from torch import nn

from struthio.gauntlet.networks import network, plain, shipped
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop
from struthio.losses import Divergence
from struthio.threats import Linf
from struthio.train.distillation import Distillation, Tempered
from struthio.train.ensemble import EnsembleAT
from struthio.train.fgsm_at import FGSMAT
from struthio.train.pgd_at import PGDAT
from struthio.train.trades import TRADES, NoisyStart

CROCE = "Croce, Hein, 2020, arXiv 2003.01690"
MNIST = Linf(0.3)
HOT = 100.0  # the temperature


def trades(shop: Workshop) -> nn.Module:
    """TRADES on digits at a third of the usual radius, at which a few passes are enough."""
    recipe = TRADES(threat=Linf(0.1), ramp=0.5, attack=NoisyStart(steps=5, step=0.4, loss=Divergence()))
    return shop.network("trades", network, recipe)


def distilled(shop: Workshop) -> nn.Module:
    """A student of a teacher's soft answers, both at a temperature of 100, used at 1."""
    teacher = shop.network("teacher", network, Tempered(HOT), lr=1e-2)
    return shop.network("distilled", network, Distillation(teacher, HOT), lr=1e-2, epochs=6)


def one_step(shop: Workshop) -> nn.Module:
    """Half the loss on clean digits, half on those one gradient sign away."""
    return shop.network("fgsm-at", network, FGSMAT(threat=MNIST))


def by_others(shop: Workshop) -> nn.Module:
    """Ensemble adversarial training, with the plain network as the one that was trained before."""
    return shop.network("ensemble-at", network, EnsembleAT(threat=MNIST, sources=(plain(),)))


TRAINED: dict[str, Row] = {
    "pgd-at": Row(
        "adversarial training by PGD",
        lambda shop: shipped("digits-robust"),
        PGDAT.paper,
        Known(0.885, "MNIST, Linf 0.3, AutoAttack", CROCE),
        sound=True,
    ),
    "trades": Row(
        "TRADES",
        trades,
        TRADES.paper,
        Known(0.9281, "MNIST, Linf 0.3, AutoAttack", CROCE),
        threat="linf:0.1",
        sound=True,
    ),
    "none": Row("no defence", lambda shop: plain(), "", Known(None, "falls to one step", FGSMAT.paper)),
    "distillation": Row(
        "defensive distillation",
        distilled,
        Distillation.paper,
        Known(0.0, "MNIST, L2 at any radius", "Carlini, Wagner, 2017, arXiv 1608.04644"),
        frozenset({"saturated"}),
    ),
    "fgsm-at": Row(
        "adversarial training by FGSM",
        one_step,
        FGSMAT.paper,
        Known(0.0, "CIFAR-10, Linf 8/255, AutoAttack", "Andriushchenko, Flammarion, 2020, arXiv 2007.02617"),
    ),
    "ensemble-at": Row(
        "ensemble adversarial training", by_others, EnsembleAT.paper, Known(None, "falls to PGD", EnsembleAT.paper)
    ),
}
