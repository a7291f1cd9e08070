"""Adam (Kingma and Ba, 2015, arXiv 1412.6980) as a pure function, its memory a row each."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from struthio.types import State

FIRST, SECOND = 0.9, 0.999  # beta_1 and beta_2: what is kept of the means of the gradients and of their squares


def memory(z: Tensor) -> State:
    """Nothing is remembered yet."""
    return {"mean": torch.zeros_like(z), "square": torch.zeros_like(z)}


def adam(grad: Tensor, state: State, step: int) -> tuple[Tensor, Tensor, State]:
    """One more gradient; `step` counts from 0.

    Returns:
        The way up, about 1 in every entry; the scale it was divided by, entry by entry; and the memory.
    """
    mean = torch.lerp(state["mean"], grad, 1 - FIRST)
    square = torch.lerp(state["square"], grad.square(), 1 - SECOND)
    scale = square.sqrt() / math.sqrt(1 - SECOND ** (step + 1)) + 1e-8
    return mean / (1 - FIRST ** (step + 1)) / scale, scale, {**state, "mean": mean, "square": square}
