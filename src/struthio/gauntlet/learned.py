"""Denoisers before a network, each trained to undo attacks on the network alone."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from struthio.attacks import FGSM
from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.hgd import HGD
from struthio.defenses.magnet import Reformer
from struthio.defenses.modef import MODEF
from struthio.defenses.training import Course
from struthio.gauntlet.networks import plain
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop
from struthio.goals import Untargeted
from struthio.threats import Linf

EPOCHS, FITTED = 3, 4000  # passes over so many digits
SMALL = (8, 16)  # channels of the guided denoiser
THREAT = "linf:0.25"


def _course(shop: Workshop) -> Course:
    return Course(EPOCHS, seed=shop.seed)


def attacked(shop: Workshop) -> tuple[Tensor, Tensor, Tensor]:
    """Digits, what FGSM on the plain network makes of them, and their classes."""
    x, y = (part[:FITTED] for part in shop.rows())
    return x, FGSM()(plain(), x, Untargeted(y), Linf(0.25), shop.seed).x_adv, y


def denoised(shop: Workshop) -> nn.Module:
    """An autoencoder that was shown what FGSM makes."""

    def learn(defence: nn.Module) -> nn.Module:
        x, x_adv, _ = attacked(shop)
        return DenoisingAutoencoder().fit(x, x_adv, course=_course(shop))

    return nn.Sequential(shop.kept("denoiser", DenoisingAutoencoder, learn), plain())


def guided(shop: Workshop) -> nn.Module:
    """A denoiser that was led by the logits of the network."""

    def learn(defence: nn.Module) -> nn.Module:
        return HGD(widths=SMALL).fit(plain(), *attacked(shop), course=_course(shop))

    return nn.Sequential(shop.kept("hgd", lambda: HGD(widths=SMALL), learn), plain())


def reformed(shop: Workshop) -> nn.Module:
    """The reformer of MagNet."""

    def learn(defence: nn.Module) -> nn.Module:
        return Reformer().fit(shop.rows()[0][:FITTED], course=_course(shop))

    return nn.Sequential(shop.kept("reformer", Reformer, learn), plain())


def voted(shop: Workshop) -> nn.Module:
    """Three denoisers, each before the network, and a vote."""

    def learn(defence: nn.Module) -> nn.Module:
        x, x_adv, y = attacked(shop)
        return MODEF(plain()).fit(x, y, x_adv, course=_course(shop))

    return shop.kept("modef", lambda: MODEF(plain()), learn)


def _row(what: str, make: Callable[[Workshop], nn.Module], paper: str, known: Known, *doubts: str) -> Row:
    return Row(what, make, paper, known, frozenset(doubts), THREAT)


LEARNED: dict[str, Row] = {
    "denoiser": _row(
        "an autoencoder that was shown attacks",
        denoised,
        DenoisingAutoencoder.paper,
        Known(None, "falls in one piece", DenoisingAutoencoder.paper),
    ),
    "hgd": _row(
        "high-level guided denoiser",
        guided,
        HGD.paper,
        Known(0.0, "ImageNet, white box", "Athalye, Carlini, 2018, arXiv 1804.03286"),
    ),
    "magnet": _row(
        "the reformer of MagNet",
        reformed,
        Reformer.paper,
        Known(0.01, "MNIST, by transfer", "Carlini, Wagner, 2017, arXiv 1711.08478"),
    ),
    "modef": _row(
        "denoisers and a vote",
        voted,
        MODEF.paper,
        Known(None, "ensembles of weak defences are weak", "He et al., 2017, arXiv 1706.04701"),
        "gradient-free-part",
    ),
}
