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
        self.gap = Gap()
        self.squeezers = nn.ModuleList([one if isinstance(one, nn.Module) else _Module(one) for one in chosen])

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        """There is nothing to learn but where to draw the line."""

    def score(self, x: Tensor) -> Tensor:
        """The largest gap, [n], between 0 and 2."""
        largest: Tensor = self.gap(torch.stack([self.inside(x), *(self.inside(s(x)) for s in self.squeezers)]))
        return largest


class Gap(nn.Module):
    """The largest L1 distance between the softmax of the first answer and those of the others.

    It is flat where two answers are sure of different classes. Divergences, which are not, stand in for its slope.
    """

    def forward(self, answers: Tensor) -> Tensor:
        """Logits [answers, n, classes] to distances [n]."""
        first, *others = answers.softmax(2)
        return torch.stack([(first - other).abs().sum(1) for other in others]).amax(0)

    def stand_in(self, answers: Tensor) -> Tensor:
        """The sum of KL(p | q) + KL(q | p) between the first answer p and each of the others q, [n]."""
        first, *others = answers.log_softmax(2)
        return torch.stack([((first.exp() - other.exp()) * (first - other)).sum(1) for other in others]).sum(0)


class _Module(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x)
