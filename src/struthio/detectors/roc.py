"""How well a score parts adversarial rows from clean ones: the ROC curve and the area under it, without a detour."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.checks import UserError


@dataclass(frozen=True)
class Roc:
    """A curve of what is caught against what is flagged by mistake, from the highest threshold to the lowest.

    Attributes:
        false_positives: the share of clean rows at or above each threshold, float64 [k], from 0 to 1.
        true_positives: the share of adversarial rows there, float64 [k], from 0 to 1.
        thresholds: [k], falling; the first is infinite.
        auc: the area under the curve.
    """

    false_positives: Tensor
    true_positives: Tensor
    thresholds: Tensor
    auc: float

    def caught_at(self, fpr: float) -> float:
        """The largest share of adversarial rows that is caught with at most this share of clean rows flagged."""
        return float(self.true_positives[self.false_positives <= fpr + 1e-12].max())

    def corners(self) -> Tensor:
        """The points of the curve, false positives first, float64 [m, 2]; none on a line between two others."""
        points = torch.stack([self.false_positives, self.true_positives], 1)
        if len(points) < 3:
            return points
        ahead, behind = points[2:] - points[1:-1], points[1:-1] - points[:-2]
        turns = (ahead[:, 0] * behind[:, 1] - ahead[:, 1] * behind[:, 0]).abs() > 1e-12
        ends = torch.ones(1, dtype=torch.bool)
        return points[torch.cat([ends, turns, ends])]


def auc(clean: Tensor, adversarial: Tensor) -> float:
    """The share of pairs in which the adversarial row has the higher score; ties count half (Mann and Whitney, 1947).

    Args:
        clean: scores of clean rows [n].
        adversarial: scores of adversarial rows [m].
    """
    clean, adversarial = _checked(clean), _checked(adversarial)
    below = torch.searchsorted(clean, adversarial)
    upto = torch.searchsorted(clean, adversarial, right=True)
    return float((below + upto).double().mean()) / (2 * len(clean))


def roc(clean: Tensor, adversarial: Tensor) -> Roc:
    """The curve over every threshold at which it changes."""
    area = auc(clean, adversarial)
    clean, adversarial = _checked(clean), _checked(adversarial)
    at = torch.cat([clean, adversarial]).unique().flip(0)
    shares = [1 - torch.searchsorted(side, at).double() / len(side) for side in (clean, adversarial)]
    none = torch.zeros(1, dtype=torch.float64, device=at.device)
    false, true = (torch.cat([none, share]) for share in shares)
    return Roc(false, true, torch.cat([none + torch.inf, at]), area)


def _checked(scores: Tensor) -> Tensor:
    if scores.ndim != 1 or not len(scores):
        raise UserError(f"scores have shape {tuple(scores.shape)}; one number a row, of at least one row, is needed.")
    if bool(scores.isnan().any()):
        raise UserError(f"{int(scores.isnan().sum())} of {len(scores)} scores are NaN.")
    return scores.detach().double().sort().values
