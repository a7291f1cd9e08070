"""How detectors that are networks themselves are taught: by clean and adversarial rows in equal parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from struthio.defenses.training import Course, train

FIVE = Course(epochs=5)


def teach(net: nn.Module, loss: Callable[..., Tensor], rows: Sequence[Tensor], course: Course) -> None:
    """Train a network, which then is in evaluation mode and frozen."""
    train(net.requires_grad_(True), loss, rows, course)
    net.requires_grad_(False)
    for parameter in net.parameters():
        parameter.grad = None


def alike(clean: Tensor, adversarial: Tensor) -> tuple[Tensor, Tensor]:
    """Clean and adversarial rows in one, the fewer repeated until both sides weigh alike, and 0 or 1 for each."""
    most = max(len(clean), len(adversarial))
    sides = [side[torch.arange(most, device=side.device) % len(side)] for side in (clean, adversarial)]
    return torch.cat(sides), torch.arange(2 * most, device=clean.device).div(most, rounding_mode="floor").to(clean)
