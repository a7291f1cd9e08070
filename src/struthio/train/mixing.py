"""Batches in which some inputs are replaced by adversarial ones: adversarial training at scale."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks import FGSM
from struthio.attacks.base import no_trace
from struthio.checks import UserError
from struthio.goals import Untargeted
from struthio.gradients import Autograd
from struthio.put_back import in_mode
from struthio.rows import RowGenerator
from struthio.train.adversarial import Adversarial, whole_step
from struthio.train.recipe import Moment
from struthio.types import Model, Threat

AIMS = ("least-likely", "predicted", "true")


@dataclass(frozen=True)
class Mixing(Adversarial):
    """[sum over clean of J + lam sum over adversarial of J] / [(m - k) + lam k], in one forward of the mixed batch.

    The first k of the m inputs of a batch are replaced by inputs one gradient sign away. Each has a radius of its own,
    the size of a normal number of deviation `spread` eps cut off at eps, so that the network does not get used to one:
    with Linf(16/255) and a spread of 1/2 that is the paper's sigma of 8. Trained with aim="true", networks learn to
    read the label from the perturbation itself, and see attacked inputs better than clean ones: `leaking` measures it.

    Args:
        share: k / m, in (0, 1].
        lam: the weight of an adversarial input beside a clean one.
        spread: the deviation of the radii as a share of the radius; None gives every input the whole radius.
        aim: "least-likely" steps towards the class that the model finds least likely, "predicted" away from the class
            it finds most likely, "true" away from the label. The first two ask the model by the same forward.

    Raises:
        UserError: for options outside these ranges.
    """

    paper: ClassVar[str] = "Kurakin, Goodfellow, Bengio, 2017, arXiv 1611.01236"
    plain_at_zero: ClassVar[bool] = False  # the adversarial rows keep their weight

    share: float = 0.5
    lam: float = 0.3
    spread: float | None = 0.5
    aim: str = "least-likely"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.share(self.share, "share")
        checks.positive(self.lam, "lam")
        if self.spread is not None:
            checks.positive(self.spread, "spread")
        checks.one_of(self.aim, AIMS, "aim")
        if self.spread is not None and getattr(self.threat, "norm", None) == "l0":
            raise UserError("radii that count values cannot be drawn. Take spread=None, or another threat than L0.")

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The adversarial inputs in place of the first k, [k, ...]."""
        k = round(self.share * len(x))
        threat, generator = self.now(x, moment), moment.generator[:k]
        if k == 0:
            return x[:0]
        if self.spread is not None:
            threat = threat.at(threat.eps * radii(self.spread, generator).to(x.dtype))
        with in_mode(model, self.training), no_trace(generator):
            score = partial(self._score, y[:k])
            slope, _ = Autograd()(model, partial(threat.apply, x[:k]), threat.zero(x[:k]), score, generator)
        return whole_step(threat, x[:k], slope)

    def _score(self, y: Tensor, outputs: Tensor) -> Tensor:
        if self.aim == "least-likely":
            return -F.cross_entropy(outputs, outputs.argmin(1), reduction="none")
        return F.cross_entropy(outputs, y if self.aim == "true" else outputs.argmax(1), reduction="none")

    def on(self, model: Model, x: Tensor, x_adv: Tensor, y: Tensor) -> Tensor:
        """The weighted mean over the mixed batch."""
        losses = F.cross_entropy(model(torch.cat([x_adv, x[len(x_adv) :]])), y, reduction="none")
        weights = torch.ones_like(losses)
        weights[: len(x_adv)] = self.lam
        return (weights * losses).sum() / weights.sum()


def radii(spread: float, generator: RowGenerator) -> Tensor:
    """Shares of the radius, [n]: the size of a normal number of this deviation, given that it is at most 1."""
    most = math.erf(1 / (spread * math.sqrt(2)))
    return spread * math.sqrt(2) * torch.erfinv(most * generator.uniform((), torch.float64))


def leaking(model: nn.Module, x: Tensor, y: Tensor, threat: Threat) -> float:
    """Accuracy under FGSM that knows the labels, less accuracy on x: above 0 where labels leak into the perturbation.

    Args:
        model: in evaluation mode.
        x: inputs [n, ...] that the model was not trained on.
        y: their classes, int64 [n].
        threat: what may change, best with a radius of those trained with.
    """
    with torch.no_grad():
        clean = float((model(x).argmax(1) == y).float().mean())
    return 1 - FGSM()(model, x, Untargeted(y), threat).rate - clean
