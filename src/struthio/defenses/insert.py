"""Layers put into a network that is there already: before, after or in place of each layer of a kind."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn

from struthio.checks import UserError
from struthio.models import with_stand_ins

Make = Callable[[], nn.Module]
Kinds = tuple[type[nn.Module], ...]

CONVOLUTIONS: Kinds = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
ACTIVATIONS: Kinds = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU)


def before(model: nn.Module, kinds: Kinds, make: Make) -> nn.Module:
    """A copy of a model with a new layer before each layer of some kinds; see `swapped`."""
    return swapped(model, kinds, lambda layer: nn.Sequential(make(), layer))


def after(model: nn.Module, kinds: Kinds, make: Make) -> nn.Module:
    """A copy of a model with a new layer after each layer of some kinds; see `swapped`."""
    return swapped(model, kinds, lambda layer: nn.Sequential(layer, make()))


def instead(model: nn.Module, kinds: Kinds, make: Make) -> nn.Module:
    """A copy of a model with a new layer in place of each layer of some kinds; see `swapped`."""
    return swapped(model, kinds, lambda layer: make())


def swapped(model: nn.Module, kinds: Kinds, swap: Callable[[nn.Module], nn.Module]) -> nn.Module:
    """A copy of a model that shares its parameters, with `swap(layer)` in the place of each layer of some kinds.

    Args:
        model: any module; it is left as it is.
        kinds: which layers.
        swap: gets a layer of the copy, in the order in which the model names them, and returns what takes its place.

    Raises:
        UserError: where the model has no such layer.
    """
    twin = with_stand_ins(model, {})
    if isinstance(twin, kinds):
        return swap(twin).train(model.training)
    found: dict[int, nn.Module] = {}  # a layer used in two places stays one layer
    for parent in list(twin.modules()):
        for name, layer in list(parent._modules.items()):
            if isinstance(layer, kinds):
                if id(layer) not in found:
                    found[id(layer)] = swap(layer).train(layer.training)
                setattr(parent, name, found[id(layer)])
    if not found:
        raise UserError(
            f"no part of the model is a {' or '.join(kind.__name__ for kind in kinds)}, so nothing can be put beside "
            "one. What a forward calls as a function (F.relu) is no part: build the model with modules."
        )
    return twin
