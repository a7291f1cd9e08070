"""Several detectors as one, which flags an input where any of them does."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.detectors.base import Detector
from struthio.detectors.magnet import ReconstructionError


class AnyOf(Detector):
    """The largest of several scores, each in standard deviations above a line that one in twenty rows of `fit` cross.

    So MagNet joins its detectors (Meng and Chen, 2017, arXiv 1705.09064), which has one line each; here one line is
    drawn over all, so that the rate of false alarms is that of the whole. Attacked jointly, the slope follows whichever
    detector is the most suspicious.

    Args:
        parts: the detectors, not fitted yet. None takes the two that were published for digits: the mean square that an
            autoencoder with pooling loses, and the mean absolute value that one without loses.
    """

    paper: ClassVar[str] = ReconstructionError.paper
    looks: ClassVar[bool] = False

    def __init__(self, parts: Sequence[Detector] | None = None) -> None:
        super().__init__()
        chosen = [ReconstructionError(2.0), ReconstructionError(1.0, (16,))] if parts is None else list(parts)
        if not chosen:
            raise UserError("no detector was given; at least one is needed.")
        self.parts = nn.ModuleList(chosen)
        self.supervised = any(part.supervised for part in chosen)
        self.random = any(part.random for part in chosen)

    @property
    def _each(self) -> list[Detector]:
        return [part for part in self.parts if isinstance(part, Detector)]

    def build(self, model: nn.Module) -> None:
        """Make every part ready, with the layers that were chosen for it where it was stored."""
        super().build(model)
        for index, part in enumerate(self._each):
            part.shape = self.shape
            part.layers = tuple(json.loads(self.layers[index])) if self.layers else part.layers
            part.build(model)

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        for part in self._each:
            part.fit(model, x, y, x_adv if part.supervised else None, int(torch.randint(2**62, ()))).calibrate(x)
        self.layers = tuple(json.dumps(part.layers) for part in self._each)

    def score(self, x: Tensor) -> Tensor:
        """The largest excess of a part, [n]."""
        return torch.stack([part.excess(x) for part in self._each]).amax(0)

    def of_model(self, name: str) -> bool:
        """Whether a value of the state is the model's, which parts may hold too."""
        if not name.startswith("parts."):
            return super().of_model(name)
        _, index, inner = name.split(".", 2)
        return self._each[int(index)].of_model(inner)

    def _own(self) -> list[nn.Module]:
        return [own for part in self._each for own in part._own()]
