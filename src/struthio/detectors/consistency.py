"""Prediction consistency: a model that is asked about random views of an input should say the same of each."""

from __future__ import annotations

from collections.abc import Callable
from typing import ClassVar

from torch import Tensor, nn

from struthio import checks
from struthio.defenses.noise import GaussianNoise
from struthio.detectors.base import Detector
from struthio.detectors.dropout import uncertainty


class Consistency(Detector):
    """The variance of the softmax over random views: U(x) = mean |y|^2 - |mean y|^2.

    The score is that of Feinman et al., 2017, arXiv 1703.00410, with views of the input in place of dropout:
    adversarial rows lie near a border, which noise or a resize crosses. Which view and how many is left
    open by the idea.

    Args:
        view: from rows to random views of the same shape, one draw a row: Gaussian noise of 0.2 where None, as at the
            input of RSE (Liu et al., 2018, arXiv 1712.00673), or a module such as a random resize and pad (Xie et al.,
            2018, arXiv 1711.01991).
        passes: how many views.
    """

    paper: ClassVar[str] = (
        "Xie, Wang, Zhang, Ren, Yuille, 2018, arXiv 1711.01991; Feinman et al., 2017, arXiv 1703.00410"
    )
    random = True

    def __init__(self, view: Callable[[Tensor], Tensor] | None = None, passes: int = 20) -> None:
        super().__init__()
        checks.count(passes, "passes")
        self.view, self.passes = GaussianNoise(0.2) if view is None else view, passes

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        """There is nothing to learn but where to draw the line."""

    def score(self, x: Tensor) -> Tensor:
        """The disagreement between views, [n], between 0 and 1."""
        return uncertainty(self.inside, [self.view(x) for _ in range(self.passes)])
