"""The twelve kinds of defence that failed, of Goodfellow's lecture (2017), each built once on digits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.ensembles import Ensemble
from struthio.defenses.noise import GaussianNoise
from struthio.defenses.training import Course, train
from struthio.gauntlet.networks import autoencoder, features, maxout, network, plain
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop
from struthio.train.gaussian import Gaussian
from struthio.train.gradient_penalty import GradientPenalty
from struthio.train.recipe import Recipe

SLIDE = Known(None, "on the list of defences that failed", "Goodfellow, 2017, lecture")
EPOCHS = 3
BITS = 32  # of a code word
GLIMPSE = 22  # pixels on a side


def pretrained(shop: Workshop) -> nn.Module:
    """A classifier that begins at the convolutions of a denoising autoencoder."""

    def remember(coder: nn.Module) -> nn.Module:
        def loss(x: Tensor) -> Tensor:
            return F.mse_loss(coder((x + 0.3 * torch.randn_like(x)).clamp(0, 1)), x)

        train(coder, loss, [shop.rows()[0]], Course(EPOCHS, seed=shop.seed))
        return coder

    coder = shop.kept("coder", autoencoder, remember)

    def begun() -> nn.Module:
        model, known = network(), coder.state_dict()
        shared = {name for name in known if int(name.partition(".")[0]) < len(features())}
        model.load_state_dict({name: known[name] for name in shared}, strict=False)
        return model

    return shop.network("pretrained", begun)


def cleaned(shop: Workshop) -> nn.Module:
    """A denoising autoencoder before the plain network."""

    def learn(defence: nn.Module) -> nn.Module:
        return DenoisingAutoencoder().fit(shop.rows()[0], noise=0.3, course=Course(EPOCHS, seed=shop.seed))

    return nn.Sequential(shop.kept("cleaner", DenoisingAutoencoder, learn), plain())


def several(shop: Workshop) -> nn.Module:
    """The mean probability of three networks."""
    return Ensemble([shop.network(f"member-{number}", network, lr=1e-3 * 2**number) for number in range(3)], "average")


class LessSure(nn.Module):
    """Each input moved a step towards less confidence in its own class before it is judged.

    Args:
        model: the classifier.
        step: in the maximum norm.
    """

    def __init__(self, model: nn.Module, step: float) -> None:
        super().__init__()
        self.model, self.step = model, step

    def forward(self, x: Tensor) -> Tensor:
        """Logits of the moved inputs; the direction of the step passes no slope, since it is a sign."""
        with torch.enable_grad():
            here = x.detach().requires_grad_()
            sure = self.model(here).log_softmax(1).amax(1)
            (slope,) = torch.autograd.grad(sure.sum(), here)
        logits: Tensor = self.model((x - self.step * slope.sign()).clamp(0, 1))
        return logits


class CodeWords(nn.Module):
    """Class scores from the bits that a network gives: how well they agree with each class's code word.

    Args:
        net: gives one logit a bit, [n, bits].
        words: of +1 and -1, [classes, bits].
    """

    words: Tensor

    def __init__(self, net: nn.Module, words: Tensor) -> None:
        super().__init__()
        self.net = net
        self.register_buffer("words", words)

    def forward(self, x: Tensor) -> Tensor:
        """Ten times the agreement of the saturated bits with every word, [n, classes], from -10 to 10."""
        bits: Tensor = self.net(x).tanh()
        return 10 * bits @ self.words.T / self.words.shape[1]


def corrected(shop: Workshop) -> nn.Module:
    """A network that answers with an error-correcting code: random words, some 16 bits apart."""
    words = torch.randint(2, (10, BITS), generator=torch.Generator().manual_seed(shop.seed)).float() * 2 - 1
    return shop.network("codes", lambda: CodeWords(network(outputs=BITS), words))


class Glimpses(nn.Module):
    """The mean logits over five glimpses, each a part of the picture enlarged to its full size.

    Args:
        model: the classifier.
        side: of a glimpse, in pixels.
    """

    def __init__(self, model: nn.Module, side: int) -> None:
        super().__init__()
        self.model, self.side = model, side

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        most = x.shape[-1] - self.side
        places = ((0, 0), (0, most), (most, 0), (most, most), (most // 2, most // 2))
        parts = [x[..., top : top + self.side, left : left + self.side] for top, left in places]
        wide = [F.interpolate(part, x.shape[2:], mode="bilinear", align_corners=False) for part in parts]
        return torch.stack([self.model(part) for part in wide]).mean(0)


def taught(
    name: str, recipe: Recipe | None = None, build: Callable[[], nn.Module] = network, **plan: Any
) -> Callable[[Workshop], nn.Module]:
    """A network whose whole defence is how it was trained, or of what it is made."""
    return lambda shop: shop.network(name, build, recipe, **plan)


def _row(what: str, make: Callable[[Workshop], nn.Module], paper: str = "", doubts: tuple[str, ...] = ()) -> Row:
    return Row(what, make, paper, SLIDE, frozenset(doubts), "linf:0.25")


FAILED: dict[str, Row] = {
    "pretraining": _row("generative pretraining of the features", pretrained, "Hinton, Osindero, Teh, 2006"),
    "autoencoder": _row("perturbations removed by an autoencoder", cleaned, DenoisingAutoencoder.paper),
    "noise-at-test": _row(
        "Gaussian noise on the input at test",
        lambda shop: nn.Sequential(GaussianNoise(0.3), plain()),
        GaussianNoise.paper,
        ("random-outputs",),
    ),
    "ensemble": _row("the mean of three networks", several, Ensemble.paper),
    "less-sure": _row("a confidence-reducing perturbation at test", lambda shop: LessSure(plain(), 0.05)),
    "codes": _row("error-correcting codes for answers", corrected, "Dietterich, Bakiri, 1995, arXiv cs/9501101"),
    "glimpses": _row("multiple glimpses", taught("glimpses", build=lambda: Glimpses(network(), GLIMPSE), epochs=2)),
    "weight-decay": _row("weight decay", taught("decayed", weight_decay=1e-3)),
    "double-backprop": _row("double backprop", taught("smooth", GradientPenalty()), GradientPenalty.paper),
    "noise-at-train": _row("Gaussian noise in training", taught("noisy", Gaussian(0.3)), Gaussian.paper),
    "maxout": _row(
        "other nonlinear units: maxout", taught("maxout", build=maxout), "Goodfellow et al., 2013, arXiv 1302.4389"
    ),
    "tanh": _row("other nonlinear units: tanh", taught("tanh", build=lambda: network(nn.Tanh))),
    "dropout": _row(
        "dropout in training",
        taught("dropout", build=lambda: network(dropout=0.5)),
        "Srivastava et al., 2014, JMLR 15",
    ),
}
