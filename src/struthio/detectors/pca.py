"""The tail of a principal component analysis: clean rows hardly move along the last components."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.detectors.base import Detector

MOST = 4096  # values of a row: the covariance has their square


class PCATail(Detector):
    """The mean square of a row's coefficients along the last principal components of clean rows.

    On MNIST these are the border pixels, which are black in every digit: the detector sees whoever writes there, and
    nobody else (Carlini and Wagner, 2017, arXiv 1705.07263).

    Args:
        first: the first component of the tail, counted from 0 by falling variance; None takes the last 36 in a hundred,
            which are 500 to 783 of a digit's.
        whiten: divide each coefficient by its standard deviation on clean rows, so that all count alike.
        floor: added to each variance before that, as a share of the mean variance.
    """

    paper: ClassVar[str] = "Hendrycks, Gimpel, 2017, arXiv 1608.00530"
    looks: ClassVar[bool] = False
    mean: Tensor
    ways: Tensor
    deviations: Tensor

    def __init__(self, first: int | None = None, whiten: bool = False, floor: float = 1e-4) -> None:
        super().__init__()
        if first is not None:
            checks.count(first + 1, "first + 1")
        checks.positive(floor, "floor")
        self.first, self.whiten, self.floor = first, whiten, floor

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        rows = x.flatten(1).double()
        values = rows.shape[1]
        if values > MOST:
            raise UserError(f"rows of {values} values are too large for their covariance; at most {MOST} are taken.")
        first = int(0.64 * values) if self.first is None else self.first
        if first >= values:
            raise UserError(f"first is {first}, but rows of {values} values have components 0 to {values - 1}.")
        mean = rows.mean(0)
        variances, ways = torch.linalg.eigh((rows - mean).T @ (rows - mean) / len(rows))
        tail = slice(None, values - first)  # eigenvalues rise
        deviations = (variances[tail].clamp(min=0) + self.floor * variances.mean()).sqrt()
        self.keep(mean=mean.to(x), ways=ways[:, tail].to(x), deviations=deviations.to(x))

    def score(self, x: Tensor) -> Tensor:
        """The mean square along the tail, [n]."""
        along = (x.flatten(1) - self.mean) @ self.ways
        return (along / self.deviations if self.whiten else along).square().mean(1)
