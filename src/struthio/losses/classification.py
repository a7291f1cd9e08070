"""How bad it is: losses per row of class scores, each higher the better it suits the attacker.

`away(outputs, labels)` leads away from the labels, `toward(outputs, targets, labels)` leads to the targets.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks


def _at(outputs: Tensor, classes: Tensor) -> Tensor:
    return outputs.gather(1, classes[:, None]).squeeze(1)


def _others(outputs: Tensor, classes: Tensor) -> Tensor:
    """The strongest score among the other classes, [n]."""
    return outputs.scatter(1, classes[:, None], -torch.inf).amax(1)


@dataclass(frozen=True)
class CrossEntropy:
    """The negative log-probability of the label, from logits."""

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """-log p(label), [n]."""
        return F.cross_entropy(outputs, labels, reduction="none")

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log p(target), [n]."""
        return -F.cross_entropy(outputs, targets, reduction="none")


@dataclass(frozen=True)
class Margin:
    """The strongest wrong score less the right one (Carlini and Wagner, 2017, arXiv 1608.04644); above 0 when won."""

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Max over other classes of z, less z(label), [n]."""
        return _others(outputs, labels) - _at(outputs, labels)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """z(target) less the maximum over other classes, [n]."""
        return _at(outputs, targets) - _others(outputs, targets)


@dataclass(frozen=True)
class LogitGap:
    """One wrong score less the right one: the straight way to a target, whatever the other classes do.

    Melamed, Yehudai, Shamir, 2024, arXiv 2407.02240, order targets by it; without a target it is the margin.
    """

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """Max over other classes of z, less z(label), [n]."""
        return Margin().away(outputs, labels)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """z(target) less z(label), [n]; without labels, less the strongest other class."""
        if labels is None:
            return Margin().toward(outputs, targets)
        return _at(outputs, targets) - _at(outputs, labels)


@dataclass(frozen=True)
class Logit:
    """The logit of the class alone (for targets: Zhao, Liu, Larson, 2021, arXiv 2012.11207)."""

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """-z(label), [n]."""
        return -_at(outputs, labels)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """z(target), [n]."""
        return _at(outputs, targets)


@dataclass(frozen=True)
class DLR:
    """The difference of logits ratio, which no rescaling of the logits can flatten (Croce and Hein, 2020, arXiv
    2003.01690).
    """

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """-(z(y) - max other) / (z1 - z3), with z1 >= z2 >= z3 the sorted logits, [n]. Needs three classes."""
        checks.enough_classes(outputs, 3, "DLR", "Margin()")
        top = outputs.topk(3, dim=1).values
        return Margin().away(outputs, labels) / (top[:, 0] - top[:, 2] + 1e-12)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """-(z(y) - z(t)) / (z1 - (z3 + z4) / 2), [n]. Needs four classes.

        Without labels the strongest class other than the target stands for y.
        """
        checks.enough_classes(outputs, 4, "targeted DLR", "Margin()")
        top = outputs.topk(4, dim=1).values
        other = _others(outputs, targets) if labels is None else _at(outputs, labels)
        return (_at(outputs, targets) - other) / (top[:, 0] - 0.5 * (top[:, 2] + top[:, 3]) + 1e-12)


@dataclass(frozen=True)
class Divergence:
    """The Kullback-Leibler divergence of the answer from the clean answer (as in TRADES, arXiv 1901.08573).

    With `Drift` it compares whole distributions; with labels it is the cross-entropy, the divergence from certainty.
    """

    def drift(self, outputs: Tensor, reference: Tensor) -> Tensor:
        """KL(softmax(reference) || softmax(outputs)), [n]."""
        return F.kl_div(outputs.log_softmax(1), reference.log_softmax(1), reduction="none", log_target=True).sum(1)

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """-log p(label), [n]."""
        return CrossEntropy().away(outputs, labels)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """Log p(target), [n]."""
        return CrossEntropy().toward(outputs, targets, labels)
