"""Radial basis functions as the last layer: sure only near what was seen."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense, behind
from struthio.defenses.training import USUAL, Course, Progress, same_rows, train


class RBF(Defense):
    """One unit a class: log p_k = -sum_f a_kf (x_f - mu_kf)^2, with a > 0.

    Goodfellow, Shlens, Szegedy, 2015, arXiv 1412.6572, section 8. Far from every centre p is small for all classes:
    the units are not right there, but they are not sure either. Told by accuracy alone this is no robustness. The
    outputs are logarithms, whose gradient is right.

    Args:
        features: values in a row; for pictures, all pixels.
        classes: how many there are.
    """

    paper: ClassVar[str] = "Goodfellow et al., 2015, arXiv 1412.6572"

    def __init__(self, features: int = 784, classes: int = 10) -> None:
        super().__init__()
        checks.count(features, "features")
        checks.count(classes, "classes")
        self.centres = nn.Parameter(torch.rand(classes, features))
        self.raw = nn.Parameter(_before_softplus(torch.full((classes, features), 1 / features)))

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """Behind the model, on its outputs, which it is then to be fitted to."""
        return behind(model, cls(*options, **named))

    def forward(self, x: Tensor) -> Tensor:
        """Log p [n, classes], at most 0."""
        flat = x.flatten(1)
        if flat.shape[1] != self.centres.shape[1]:
            raise UserError(f"rows have {flat.shape[1]} values, but the centres {self.centres.shape[1]}.")
        a = F.softplus(self.raw)
        # The square written out, so that no tensor [n, classes, features] is made.
        weighed = a * self.centres
        q = flat.square() @ a.T - 2 * flat @ weighed.T + (weighed * self.centres).sum(1)
        out: Tensor = -q.clamp(min=0)
        return out

    def confidence(self, x: Tensor) -> Tensor:
        """The largest p of each row, [n], which a softmax could not let fall below 1 / classes."""
        log_p: Tensor = self(x)
        return log_p.amax(1).exp()

    def fit(self, x: Tensor, y: Tensor, *, course: Course = USUAL, progress: Progress | None = None) -> Self:
        """Train by cross-entropy over log p, the centres starting at the means of the classes.

        Args:
            x: rows [n, ...].
            y: their classes, int64 [n]; every class is needed.
            course: how long and how fast.
            progress: called after each pass with an `Epoch`.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where rows and classes do not fit each other, or a class is missing.
        """
        same_rows((x, y))
        checks.classes(y, len(x), "labels")
        flat, classes = x.flatten(1), len(self.centres)
        missing = sorted(set(range(classes)) - set(y.tolist()))
        if missing or int(y.max()) >= classes:
            raise UserError(f"rows of all classes 0 to {classes - 1} and no others are needed; missing: {missing}.")
        with torch.no_grad():
            self.centres.copy_(torch.stack([flat[y == label].mean(0) for label in range(classes)]))
            apart = (flat - self.centres[y]).square().sum(1).mean().clamp(min=1e-12)
            self.raw.copy_(_before_softplus((1 / apart).expand_as(self.raw)))
        train(self, lambda rows, labels: F.cross_entropy(self(rows), labels), (flat, y), course, progress)
        return self


def _before_softplus(a: Tensor) -> Tensor:
    """The number whose softplus is a."""
    return a + (-(-a).expm1()).log()
