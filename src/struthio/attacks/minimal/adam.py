"""Adam (Kingma and Ba, 2015, arXiv 1412.6980) as a pure function, its memory a row each."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.rows import per_row
from struthio.types import State

FIRST, SECOND = 0.9, 0.999  # beta_1 and beta_2: what is kept of the means of the gradients and of their squares


def memory(z: Tensor) -> State:
    """Nothing is remembered yet."""
    return {"mean": torch.zeros_like(z), "square": torch.zeros_like(z)}


def adam(grad: Tensor, state: State, step: int | Tensor) -> tuple[Tensor, Tensor, State]:
    """One more gradient; `step` counts from 0, the same for all rows or one each, [n].

    Returns:
        The way up, about 1 in every entry; the scale it was divided by, entry by entry; and the memory.
    """
    mean = torch.lerp(state["mean"], grad, 1 - FIRST)
    square = torch.lerp(state["square"], grad.square(), 1 - SECOND)
    age = step + 1 if isinstance(step, int) else per_row(step + 1, grad)
    scale = square.sqrt() / (1 - SECOND**age) ** 0.5 + 1e-8
    return mean / (1 - FIRST**age) / scale, scale, {**state, "mean": mean, "square": square}
