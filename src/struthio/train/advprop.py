"""AdvProp: adversarial inputs as augmentation, with batch-norm of their own, so that clean accuracy gains by them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import ClassVar, TypeVar

import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from struthio.attacks import PGD
from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.goals import Untargeted
from struthio.train.adversarial import WithThreat
from struthio.train.adversary import adversary
from struthio.train.recipe import Moment, prepared

Kind = TypeVar("Kind", bound=nn.Module)


@dataclass(frozen=True)
class AdvProp(WithThreat):
    """J(f(x), y) + J(f'(x_adv), y): f' is f with auxiliary batch-norms, weights and statistics, and x_adv attacks f'.

    Everything else is shared. Attacks run in evaluation mode, by the statistics of the auxiliary branch, so that those
    of the main one see clean inputs alone. What is finished is the main branch. The aim is clean accuracy: the result
    is not robust. The paper attacks ImageNet by Linf(4/255) in 5 steps of 1/255, its smallest networks by one step of
    1/255; its loss is this sum, not the mean. More branches, one a kind of augmentation, are not made here.

    Args:
        attack: how inputs are found; `keep="last"` costs nothing beside its steps.

    Raises:
        UserError: for a model without batch-norm.
    """

    paper: ClassVar[str] = "Xie, Tan, Gong, Wang, Yuille, Le, 2020, arXiv 1911.09665"
    plain_at_zero: ClassVar[bool] = False  # the second branch keeps its loss

    attack: Attack = field(default_factory=lambda: PGD(steps=5, step=0.25, keep="last"))

    def prepare(self, model: nn.Module) -> nn.Module:
        """A copy of the model, in which every batch-norm has a second one beside it."""
        return Branched(model)

    def finish(self, trained: nn.Module) -> nn.Module:
        """A copy of the main branch, as an ordinary model."""
        return prepared(trained, Branched, "AdvProp").main()

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The sum of both branches' losses."""
        both = prepared(model, Branched, "AdvProp")
        with both.auxiliary():
            x_adv = adversary(both, x, Untargeted(y), self.now(x, moment), self.attack, moment.generator)
            adversarial = F.cross_entropy(both(x_adv), y)
        return F.cross_entropy(both(x), y) + adversarial


class TwoNorms(nn.Module):
    """Two batch-norms, of which one is used at a time.

    Args:
        norm: the main one; the auxiliary one begins as its copy.
    """

    def __init__(self, norm: _BatchNorm) -> None:
        super().__init__()
        self.main = norm
        self.aux = copy.deepcopy(norm)
        self.uses_aux = False

    def forward(self, x: Tensor) -> Tensor:
        """X normalised by the branch that is on."""
        out: Tensor = (self.aux if self.uses_aux else self.main)(x)
        return out


class Branched(nn.Module):
    """A model with main and auxiliary batch-norms; the main ones are on but within `auxiliary()`.

    Args:
        model: is copied and stays as it is.

    Raises:
        UserError: where it has no batch-norm.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = _exchanged(copy.deepcopy(model), _BatchNorm, TwoNorms)
        if not any(isinstance(part, TwoNorms) for part in self.modules()):
            raise UserError("the model has no batch-norm, whose second copy is all that AdvProp adds. Take FGSMAT.")

    def forward(self, x: Tensor) -> Tensor:
        """The outputs of the branch that is on."""
        out: Tensor = self.model(x)
        return out

    @contextmanager
    def auxiliary(self) -> Iterator[None]:
        """Inside, the auxiliary batch-norms are on."""
        norms = [part for part in self.modules() if isinstance(part, TwoNorms)]
        try:
            for norm in norms:
                norm.uses_aux = True
            yield
        finally:
            for norm in norms:
                norm.uses_aux = False

    def main(self) -> nn.Module:
        """A copy of the model with its main batch-norms alone."""
        return _exchanged(copy.deepcopy(self.model), TwoNorms, lambda norms: norms.main)


def _exchanged(model: nn.Module, kind: type[Kind], other: Callable[[Kind], nn.Module]) -> nn.Module:
    """The model with every part of a kind exchanged for another; a part in two places stays one part."""
    new: dict[nn.Module, nn.Module] = {part: other(part) for part in model.modules() if isinstance(part, kind)}
    for owner in list(model.modules()):
        for name, part in owner.named_children():
            if part in new:
                owner.register_module(name, new[part])
    return new.get(model, model)
