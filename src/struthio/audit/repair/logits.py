"""Logits where a model returns probabilities, and logits of a usual size where they are far apart."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from struthio.models.contract import looks_like_probabilities
from struthio.types import Model

FLOOR = 1e-30


class _Softmaxes(TorchFunctionMode):
    """Remembers what went into every softmax over classes and what came out, called by whatever name."""

    known = (F.softmax, torch.softmax, Tensor.softmax, torch.special.softmax)

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[tuple[Tensor, Tensor]] = []

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        if func in self.known:
            self.calls.append((args[0] if args else (kwargs or {})["input"], out))
        return out


class BeforeSoftmax(nn.Module):
    """What a model hands to its last softmax, and to the one before it if there are two in a row.

    Taken where it is computed, so nothing is lost to rounding. Where the model's outputs are probabilities that no
    softmax made, their logarithms.

    Args:
        model: returns probabilities [n, classes].
    """

    def __init__(self, model: Model) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        with _Softmaxes() as softmaxes:
            outputs = self.model(x)
        for before, after in reversed(softmaxes.calls):
            if after is outputs:
                outputs = before
        return outputs.clamp(min=FLOOR).log() if looks_like_probabilities(outputs.detach()) else outputs


class Rescaled(nn.Module):
    """A model whose logits are divided by a number; its decisions stay the same.

    Args:
        model: returns logits [n, classes].
        by: above 0.
    """

    def __init__(self, model: Model, by: float) -> None:
        super().__init__()
        self.model, self.by = model, by

    def forward(self, x: Tensor) -> Tensor:
        """Logits [n, classes]."""
        return self.model(x) / self.by
