"""What a layer says: activations taken by hooks that are gone after the call."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from struthio.checks import UserError, near_misses

BENDS = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Mish)


def activations(model: nn.Module, layers: Sequence[str], x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The model's outputs, and what each of these layers gave at its first call.

    Args:
        model: any module.
        layers: names as in `model.named_modules()`.
        x: inputs [n, ...].

    Raises:
        UserError: where no layer has such a name, or one was not asked.
    """
    caught: dict[str, Tensor] = {}

    def catch(name: str) -> Callable[..., None]:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            caught.setdefault(name, output.clone())  # what comes after may work in place

        return hook

    parts = known(model, layers)
    handles = [part.register_forward_hook(catch(name)) for name, part in parts.items()]
    try:
        outputs = model(x)
    finally:
        for handle in handles:
            handle.remove()
    silent = [name for name in layers if name not in caught]
    if silent:
        raise UserError(
            f"the model did not call {', '.join(map(repr, silent))} on its way. Name a layer that it calls."
        )
    return outputs, [caught[name] for name in layers]


def known(model: nn.Module, layers: Sequence[str]) -> dict[str, nn.Module]:
    """These parts by name. Raises UserError with the nearest names where there is none."""
    parts = dict(model.named_modules())
    for name in layers:
        if name not in parts:
            raise UserError(f"the model has no layer {name!r}. {near_misses(name, [n for n in parts if n], 'layers')}")
    return {name: parts[name] for name in layers}


@torch.no_grad()
def hidden_layers(model: nn.Module, x: Tensor) -> tuple[str, ...]:
    """The names of the hidden layers in the order of their calls: the activation functions, else the blocks but one."""
    order: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: order.append(name) if name not in order else None

    bends: dict[str, nn.Module] = {name: part for name, part in model.named_modules() if isinstance(part, BENDS)}
    parts = bends or dict(model.named_children())
    handles = [part.register_forward_hook(note(name)) for name, part in parts.items()]
    try:
        model(x[:1])
    finally:
        for handle in handles:
            handle.remove()
    found = tuple(order if bends else order[:-1])
    if not found:
        raise UserError(
            "no hidden layer was found by itself. Name one, layers=('name',), as model.named_modules() does."
        )
    return found


def in_parts(see: Callable[[Tensor], Tensor], x: Tensor, rows: int = 500) -> Tensor:
    """Many rows through a function, some at a time, without gradient."""
    with torch.no_grad():
        return torch.cat([see(part) for part in x.split(rows)])
