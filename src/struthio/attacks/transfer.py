"""Attacks made to transfer to models they have not seen: MI, NI, DI, TI, SI and VMI, each the `ascend` loop.

All take ten steps of a tenth of the radius and return the last iterate, as their papers do: a row that is won on the
source goes on, because it is the unseen model that counts. `Via` judges them on another model than they search on;
several sources are attacked at once through `LogitEnsemble`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from struthio.attacks.ascend import ascend, check_options
from struthio.attacks.base import Attack
from struthio.attacks.rules import Momentum, VarianceTuned
from struthio.gradients import Autograd, Diverse, Scaled, Translated
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Gradient, Loss, Rule, Threat


@dataclass(frozen=True)
class Transfer(Attack):
    """What the transfer attacks share. Use one of them.

    Args:
        steps: T, how many steps of radius / T.
        decay: mu, the share of the momentum that is kept.
        loss: what is increased.
        gradient: how each slope is found, before the attack's own view of it.
    """

    paper: ClassVar[str] = ""
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")
    improves: ClassVar[bool] = False

    steps: int = 10
    decay: float = 1.0
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        check_options(self.steps, None, "last")
        self._rule()  # their own options are checked where they are made
        self._gradient()

    def _rule(self) -> Rule:
        return Momentum(self.decay)

    def _gradient(self) -> Gradient:
        return self.gradient

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The last iterate."""
        return ascend(
            model, x, goal, threat, generator, steps=self.steps, step=1 / self.steps, loss=self.loss,
            gradient=self._gradient(), rule=self._rule(), keep="last",
        )  # fmt: skip


@dataclass(frozen=True)
class MIFGSM(Transfer):
    """I-FGSM with momentum over gradients of unit L1 norm."""

    paper: ClassVar[str] = "Dong, Liao, Pang, Su, Zhu, Hu, Li, 2018, arXiv 1710.06081"


@dataclass(frozen=True)
class NIFGSM(Transfer):
    """MI-FGSM with Nesterov's look ahead."""

    paper: ClassVar[str] = "Lin, Song, He, Wang, Hopcroft, 2020, arXiv 1908.06281"

    def _rule(self) -> Rule:
        return Momentum(self.decay, nesterov=True)


@dataclass(frozen=True)
class SINIFGSM(NIFGSM):
    """NI-FGSM with slopes averaged over the picture at 1, 1/2, 1/4, ... of its brightness.

    Args:
        copies: m, how many scales.
    """

    copies: int = 5

    def _gradient(self) -> Gradient:
        return Scaled(self.gradient, self.copies)


@dataclass(frozen=True)
class DIFGSM(Transfer):
    """MI-FGSM through a random resize and pad, drawn anew for every row and step.

    Args:
        probability: how often a row is resized at all.
        smallest: the smallest side drawn, as a share of the picture's.
    """

    paper: ClassVar[str] = "Xie, Zhang, Zhou, Bai, Wang, Ren, Yuille, 2019, arXiv 1803.06978"

    probability: float = 0.5
    smallest: float = 0.9

    def _gradient(self) -> Gradient:
        return Diverse(self.gradient, self.probability, self.smallest)


@dataclass(frozen=True)
class TIFGSM(Transfer):
    """MI-FGSM on slopes blurred by a Gaussian, which stands for many small shifts of the picture.

    Args:
        size: the side of the kernel, odd.
        sigma: its standard deviation, in pixels.
    """

    paper: ClassVar[str] = "Dong, Pang, Su, Zhu, 2019, arXiv 1904.02884"

    size: int = 15
    sigma: float = 3.0

    def _gradient(self) -> Gradient:
        return Translated(self.gradient, self.size, self.sigma)


@dataclass(frozen=True)
class VMIFGSM(Transfer):
    """MI-FGSM with slopes corrected by their variance nearby.

    Args:
        samples: N, how many nearby slopes a step.
        beta: how far away they are, as a share of the radius.
    """

    paper: ClassVar[str] = "Wang, He, 2021, arXiv 2103.15571"

    samples: int = 20
    beta: float = 1.5

    def _rule(self) -> Rule:
        return VarianceTuned(self.decay, self.samples, self.beta)
