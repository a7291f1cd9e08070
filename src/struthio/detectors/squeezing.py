"""The feature-squeezing gap: how far the answer moves when the input is made coarser."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.defenses.bit_depth import BitDepth
from struthio.defenses.median import MedianFilter
from struthio.detectors.base import Detector


class SqueezingGap(Detector):
    """The largest L1 distance between the softmax of a row and that of a squeezed copy.

    Args:
        squeezers: from rows to coarser rows of the same shape. None takes those of the paper for MNIST: one bit a
            value, and a median over 2 x 2. The parts' own stand-ins are used by an adaptive attack.
    """

    paper: ClassVar[str] = "Xu, Evans, Qi, 2018, arXiv 1704.01155"

    def __init__(self, squeezers: Sequence[Callable[[Tensor], Tensor]] | None = None) -> None:
        super().__init__()
        chosen = [BitDepth(1), MedianFilter(2)] if squeezers is None else list(squeezers)
        if not chosen:
            raise UserError("no squeezer was given; at least one is needed.")
        self.squeezers = nn.ModuleList([one if isinstance(one, nn.Module) else _Module(one) for one in chosen])

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        """There is nothing to learn but where to draw the line."""

    def score(self, x: Tensor) -> Tensor:
        """The largest gap, [n], between 0 and 2."""
        plain = self.inside(x).softmax(1)
        gaps = [(plain - self.inside(squeeze(x)).softmax(1)).abs().sum(1) for squeeze in self.squeezers]
        return torch.stack(gaps).amax(0)


class _Module(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
