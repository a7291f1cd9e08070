"""Ensemble adversarial training: inputs crafted on networks that were trained before, so that no gradient is masked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks import FGSM
from struthio.attacks.base import Attack, no_trace
from struthio.goals import Drift
from struthio.put_back import in_mode
from struthio.rows import RowGenerator
from struthio.train.adversarial import Halves
from struthio.train.adversary import adversary
from struthio.train.recipe import Moment
from struthio.types import Model, Threat


@dataclass(frozen=True)
class EnsembleAT(Halves):
    """alpha J(x, y) + (1 - alpha) J(x_adv, y), x_adv crafted on a source drawn anew for each batch.

    Sources are the network that is being trained and others that were trained before, which stay as they are, with
    equal chances. A source's inputs lead away from its own answers, not from the labels, which would leak into them.
    The paper takes one step, with Linf(0.3) on MNIST and three networks of other architectures; R+FGSM, which it
    proposes as an attack, is RFGSM here. What results withstands inputs from unseen networks, and not its own: PGD on
    it wins.

    Args:
        sources: the networks trained before, each from a batch to logits, in evaluation mode and on the device of the
            data; none at all is adversarial training by itself.
        alpha: the weight of the clean part, in [0, 1).
        attack: how inputs are crafted, on every source alike.

    Raises:
        UserError: for an alpha outside [0, 1), or a source in training mode.
    """

    paper: ClassVar[str] = "Tramer, Kurakin, Papernot, Goodfellow, Boneh, McDaniel, 2018, arXiv 1705.07204"

    sources: tuple[Model, ...] = ()
    attack: Attack = field(default_factory=FGSM)

    def __post_init__(self) -> None:
        super().__post_init__()
        for source in self.sources:
            checks.mode(source)

    def perturb(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """What the attack makes of the batch on this moment's source."""
        return crafted(model, self.sources, x, self.now(x, moment), self.attack, moment.generator, self.training)


def crafted(
    model: Model,
    sources: tuple[Model, ...],
    x: Tensor,
    threat: Threat,
    attack: Attack,
    generator: RowGenerator,
    training: bool = False,
) -> Tensor:
    """The batch as attacked on the model or one of the sources, drawn with equal chances, away from its own answers.

    Args:
        model: what is being trained.
        sources: others.
        x: the inputs [n, ...].
        threat: what may change.
        attack: how it is searched.
        generator: the rows' random numbers; the first row draws the source.
        training: whether the model is attacked in training mode; sources never are.
    """
    every: tuple[Model, ...] = (model, *sources)
    chosen = int(generator.integers(len(every))[0])
    training = training and chosen == 0
    with in_mode(every[chosen], training), no_trace(generator), torch.no_grad():
        goal = Drift(every[chosen](x))
    return adversary(every[chosen], x, goal, threat, attack, generator, training)
