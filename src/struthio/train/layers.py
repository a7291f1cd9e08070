"""What comes into each linear layer of a model while it runs, which the penalties on layers need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

LINEAR = (nn.Linear, _ConvNd)


def linear_layers(model: nn.Module) -> dict[str, nn.Module]:
    """The linear layers and convolutions, by name, in the order in which they were made."""
    return {name: layer for name, layer in model.named_modules() if isinstance(layer, LINEAR)}


@contextmanager
def watched(model: nn.Module) -> Iterator[dict[str, Tensor]]:
    """Inside, a forward leaves here what comes into each linear layer, by its name, in the order of the calls.

    Of a layer that is called more than once the first call counts.
    """
    seen: dict[str, Tensor] = {}

    def note(name: str) -> Any:
        def hook(layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            seen.setdefault(name, inputs[0])

        return hook

    handles = [layer.register_forward_pre_hook(note(name)) for name, layer in linear_layers(model).items()]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()
