"""A stand-in for a part that has no useful gradient: BPDA, backward pass differentiable approximation."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from struthio.checks import UserError, near_misses
from struthio.rows import straight_through


class StandIn(nn.Module):
    """Forward through the real part, backward through another (Athalye, Carlini, Wagner, 2018, arXiv 1802.00420).

    Args:
        part: what the model really does, such as JPEG compression; it needs no gradient.
        instead: what the gradient is taken of, with outputs of the same shape. The identity by default, right for
            a part that hardly changes its input; for one that moves or resizes it, give its own differentiable form.
    """

    def __init__(self, part: Callable[[Tensor], Tensor], instead: Callable[[Tensor], Tensor] | None = None) -> None:
        super().__init__()
        self.part = part
        self.instead = nn.Identity() if instead is None else instead

    def forward(self, x: Tensor) -> Tensor:
        """The part's output, with the stand-in's gradient."""
        with torch.no_grad():  # a part that leaves torch refuses what carries a gradient
            real = self.part(x.detach())
        near = self.instead(x)
        if near.shape != real.shape:
            raise UserError(
                f"the stand-in returns shape {tuple(near.shape)} where the part returns {tuple(real.shape)}. "
                "Give one of the same shape: StandIn(part, instead=...)."
            )
        return straight_through(near, real)


def with_stand_ins(model: nn.Module, stand_ins: Mapping[str, Callable[[Tensor], Tensor] | None]) -> nn.Module:
    """A copy of a model in which named parts have stand-ins; parameters are shared and the model is left as it is.

    Args:
        model: any module.
        stand_ins: from the name of a part, as in `model.named_modules()` ("" for all of it), to what the gradient is
            taken of (None: the identity).

    Raises:
        UserError: where no part has such a name.
    """
    shared = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    twin = copy.deepcopy(model, dict(shared))
    names = [name for name, _ in twin.named_modules()]
    # Deepest first, so that a part within another is still found under its name.
    for name, instead in sorted(stand_ins.items(), key=lambda item: (not item[0], -item[0].count("."))):
        if name not in names:
            raise UserError(f"the model has no part {name!r}. {near_misses(name, names[1:], 'parts')}")
        if not name:
            return StandIn(twin, instead)  # which is the last
        parent, _, leaf = name.rpartition(".")
        setattr(twin.get_submodule(parent), leaf, StandIn(twin.get_submodule(name), instead))
    return twin


def declared(model: nn.Module) -> dict[str, Callable[[Tensor], Tensor]]:
    """The stand-ins that parts bring along, in an attribute `stand_in`, by name; "" is the model itself."""
    named = ((name, getattr(part, "stand_in", None)) for name, part in model.named_modules())
    return {name: stand_in for name, stand_in in named if stand_in is not None}


def declared_random(model: object) -> bool:
    """Whether a part says of itself that it is random, in an attribute `random`."""
    parts = model.modules() if isinstance(model, nn.Module) else (model,)
    return any(getattr(part, "random", False) is True for part in parts)
