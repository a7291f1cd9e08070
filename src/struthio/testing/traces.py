"""What a call could leave behind, read before and after it; and models that count, fail or remember."""

from __future__ import annotations

import dataclasses
import random
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def snapshot(model: nn.Module, *values: Any) -> dict[str, Any]:
    """Everything that an attack could disturb, by name: the model, the arguments, and the state of the process."""
    found: dict[str, Any] = {
        "torch's random state": torch.get_rng_state(),
        "numpy's random state": repr(np.random.get_state()),
        "python's random state": random.getstate(),
        "whether gradients are recorded": torch.is_grad_enabled(),
        "the default dtype": torch.get_default_dtype(),
    }
    for name, part in model.named_modules():
        found[f"the mode of part {name!r}"] = part.training
        found[f"the hooks of part {name!r}"] = [list(getattr(part, hooks)) for hooks in HOOKS]
    for name, parameter in model.named_parameters():
        found[f"parameter {name}"] = parameter.detach().clone()
        found[f"the gradient of {name}"] = None if parameter.grad is None else parameter.grad.clone()
        found[f"requires_grad of {name}"] = parameter.requires_grad
    for name, buffer in model.named_buffers():
        found[f"buffer {name}"] = buffer.clone()
    for index, value in enumerate(values):
        for name, tensor in _tensors(value, f"argument {index}"):
            found[name] = tensor.detach().clone()
            found[f"requires_grad of {name}"] = tensor.requires_grad
    return found


def changed(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The names of what differs between two snapshots."""
    return [
        name for name in before.keys() | after.keys() if name not in after or not _same(before.get(name), after[name])
    ]


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor) and isinstance(b, Tensor):
        return torch.equal(a, b)
    return bool(type(a) is type(b) and a == b)


def _tensors(value: Any, name: str) -> Iterator[tuple[str, Tensor]]:
    """The tensors in a value, and in the fields of a dataclass."""
    if isinstance(value, Tensor):
        yield name, value
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from _tensors(getattr(value, field.name), f"{name}.{field.name}")


class Counting(nn.Module):
    """A model that counts the rows it is asked about and those a gradient is taken for, and keeps what it was asked."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.forwards = self.backwards = 0
        self.asked: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs."""
        self.forwards += len(x)
        self.asked.append(x.detach().clone())
        outputs: Tensor = self.model(x)
        if outputs.requires_grad:
            outputs.register_hook(self._count)
        return outputs

    def _count(self, grad: Tensor) -> None:
        self.backwards += len(grad)


class Failing(nn.Module):
    """A model that breaks when it is asked for the n-th time."""

    def __init__(self, model: nn.Module, at: int) -> None:
        super().__init__()
        self.model, self.at, self.calls = model, at, 0

    def forward(self, x: Tensor) -> Tensor:
        """The model's outputs, until it breaks."""
        self.calls += 1
        if self.calls == self.at:
            raise RuntimeError("this model was made to break")
        outputs: Tensor = self.model(x)
        return outputs
