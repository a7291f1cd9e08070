"""An attack fitted to a defended model, by what the parts of the model declare."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace
from typing import Any, TypeVar

from torch import nn

from struthio.gradients import Autograd, Averaged
from struthio.losses import CrossEntropy
from struthio.models import declared, declared_random, with_stand_ins
from struthio.types import Gradient, Loss

A = TypeVar("A")


def adaptive(model: nn.Module, attack: A, samples: int = 20) -> tuple[nn.Module, A]:
    """The model and the attack as an adversary who knows the defence has them (Athalye et al., 2018, arXiv 1802.00420).

        twin, fit = st.adaptive(model, st.PGD(steps=40))
        result = fit(twin, x, goal, threat)

    Parts that declare `stand_in` get it as their gradient and answer as before (BPDA). Where a part declares
    `random = True`, slopes are means over draws (EOT) and the attack keeps its best instead of its first lucky draw;
    judge such a model by most of several draws, or its accuracy hangs on one.

    Args:
        model: with defences anywhere in it; it is left as it is.
        attack: any attack, or one made of others.
        samples: draws for each slope of a random model.
    """
    if not declared_random(model):
        return with_stand_ins(model, declared(model)), attack
    gradient = Averaged(Autograd(), samples)
    return with_stand_ins(model, declared(model)), fitted(attack, gradient, CrossEntropy(), every_step=True)


def fitted(attack: Any, gradient: Gradient, loss: Loss, every_step: bool) -> Any:
    """The attack, and every attack inside it, with another gradient and loss where it has the plain ones.

    Args:
        attack: an attack, or several in a tuple.
        gradient: in place of `Autograd()`.
        loss: in place of `CrossEntropy()`.
        every_step: against a random model all steps are taken and the best is kept: the first lucky draw is not a win.
    """
    if isinstance(attack, tuple):
        return tuple(fitted(one, gradient, loss, every_step) for one in attack)
    if not is_dataclass(attack):
        return attack
    options = {option.name: getattr(attack, option.name) for option in fields(attack)}
    within = {name: value for name, value in options.items() if name in ("attack", "attacks", "after")}
    changes = {name: fitted(value, gradient, loss, every_step) for name, value in within.items()}
    if options.get("gradient") == Autograd():
        changes["gradient"] = gradient
    if options.get("loss") == CrossEntropy():
        changes["loss"] = loss
    if every_step and options.get("keep") == "first":
        changes["keep"] = "best"
    return replace(attack, **changes)  # type: ignore[type-var]
