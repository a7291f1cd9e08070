"""Collaborative multi-task training: a second head names another class for each label, and the pair must fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from struthio import checks
from struthio.attacks import FGSM
from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.detectors.base import Detector
from struthio.goals import Untargeted
from struthio.train.adversarial import WithThreat
from struthio.train.ensemble import crafted
from struthio.train.recipe import Moment, prepared
from struthio.types import Model, Threat


@dataclass(frozen=True)
class CMT(WithThreat):
    """The mean over clean and adversarial inputs of (J_F(x, y) + J_G(x, e(y))) / 2, and weight * cos^2 of their slopes.

    F is the network's own last layer; G is a second one on the same features, which learns e(y), the class that y is
    least confused with (`least_confused` finds them). An adversary that moves F to another class breaks the pair
    unless it moves G too, which `Pairs` notices. The paper's collaborative term could not be read. Ours is a choice: it
    asks for slopes of J_F and J_G, at clean and at adversarial inputs, that have nothing in common, so that a step
    against one head does not serve against the other. That legal pairs can be aimed at like any class is plain; nothing
    here hides it.

    Args:
        partners: e, the partner of each class; none is its own, and each is best given once.
        weight: of the collaborative term. Without it G, on the features of F, learns F under other names, and pairs
            stay legal.
        sources: networks trained before, on which adversarial inputs are crafted, since the paper's are from black
            boxes; each batch draws one of them. Without any they are crafted on the network that is being trained.
        attack: how they are crafted.

    Raises:
        UserError: for partners that cannot be meant, and a model without a last linear layer of as many classes.
    """

    paper: ClassVar[str] = "Wang, Li, Wen, Nepal, Xiang, 2020, arXiv 1803.05123"
    plain_at_zero: ClassVar[bool] = False

    partners: tuple[int, ...] = field(kw_only=True)
    weight: float = 1.0
    sources: tuple[Model, ...] = ()
    attack: Attack = field(default_factory=FGSM)

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.not_negative(self.weight, "weight")
        check_partners(self.partners)
        for source in self.sources:
            checks.mode(source)

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model with a second head."""
        return TwoHeads(model, self.partners)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The loss of both heads on clean and adversarial inputs, and the term between them."""
        heads = prepared(model, TwoHeads, "CMT")
        first, *others = self.sources or (heads,)
        x_adv = crafted(first, tuple(others), x, self.now(x, moment), self.attack, moment.generator)
        losses, terms = zip(*(_parts(heads, part, y) for part in (x, x_adv)), strict=True)
        total: Tensor = torch.stack(losses).mean() + self.weight * torch.stack(terms).mean()
        return total


class TwoHeads(nn.Module):
    """A model, and a second layer beside its last linear one that names each class's partner.

    Args:
        model: its last linear layer gives the classes.
        partners: of each class.

    Raises:
        UserError: where it has no such layer of as many classes.
    """

    partners: Tensor

    def __init__(self, model: nn.Module, partners: Sequence[int]) -> None:
        super().__init__()
        layers = [layer for layer in model.modules() if isinstance(layer, nn.Linear)]
        if not layers or layers[-1].out_features != len(partners):
            known = f"{layers[-1].out_features} outputs" if layers else "no linear layer"
            raise UserError(f"{len(partners)} partners were given, and the model ends in {known}; both are classes.")
        last = layers[-1]
        self.model = model
        self.second = nn.Linear(last.in_features, last.out_features).to(last.weight)
        self.register_buffer("partners", torch.tensor(partners, device=last.weight.device))

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of the first head."""
        out: Tensor = self.model(x)
        return out

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The outputs of both heads, [n, classes] each, by one forward."""
        last = [layer for layer in self.model.modules() if isinstance(layer, nn.Linear)][-1]
        seen: list[Tensor] = []
        handle = last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        try:
            first = self.model(x)
        finally:
            handle.remove()
        return first, self.second(seen[-1])


class Pairs(Detector):
    """How unlikely the second head of `TwoHeads` finds the partner of the class that the first one answers.

    The score is -log p_G(e(y)) at the y of the largest output of F, so that a pair which is not legal stands out
    however little sure F is of its new class.
    """

    paper: ClassVar[str] = CMT.paper

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        prepared(model, TwoHeads, "CMT")

    def score(self, x: Tensor) -> Tensor:
        """The score, [n]."""
        heads = prepared(self.inside, TwoHeads, "CMT")
        first, second = heads.heads(x)
        return F.cross_entropy(second, heads.partners[first.argmax(1)], reduction="none")


def least_confused(model: Model, x: Tensor, y: Tensor, threat: Threat, attack: Attack | None = None) -> tuple[int, ...]:
    """Partners that adversarial rows of each class are given least often; of several such the least probable ones.

    Every class is the partner of one other, so that no two labels have the same: a step between these would leave the
    pair legal. The sum over all classes is made least.

    Args:
        model: from a batch to logits, in evaluation mode.
        x: rows of every class, [n, ...].
        y: their classes, int64 [n].
        threat: what may change.
        attack: FGSM where none is given.
    """
    x_adv = (attack or FGSM())(model, x, Untargeted(y), threat).x_adv
    with torch.no_grad():
        logits = model(x_adv)
    classes = logits.shape[1]
    if not bool((y.bincount(minlength=classes) > 0).all()):
        raise UserError(f"rows of all {classes} classes are needed; labels miss some.")
    one_hot = F.one_hot(y, classes).to(logits)
    counts = one_hot.T @ F.one_hot(logits.argmax(1), classes).to(logits)
    likely = one_hot.T @ logits.softmax(1) / one_hot.sum(0)[:, None]
    cost = (counts + likely).fill_diagonal_(len(x) + classes)  # more than all others together
    return tuple(linear_sum_assignment(cost.double().cpu().numpy())[1].tolist())


def check_partners(partners: Sequence[int]) -> None:
    """Refuse partners that are no other class."""
    for label, partner in enumerate(partners):
        if partner == label or not 0 <= partner < len(partners):
            raise UserError(
                f"the partner of class {label} is {partner}; another class from 0 to {len(partners) - 1} is needed. "
                "least_confused(model, x, y, threat) finds them."
            )


def _parts(heads: TwoHeads, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The mean cross-entropy of both heads, and the mean cos^2 between the slopes of the two."""
    x = x.detach().requires_grad_()
    first, second = heads.heads(x)
    losses = F.cross_entropy(first, y), F.cross_entropy(second, heads.partners[y])
    f, g = (torch.autograd.grad(loss, x, create_graph=True)[0].flatten(1) for loss in losses)
    return torch.stack(losses).mean(), F.cosine_similarity(f, g, 1, 1e-12).square().mean()
