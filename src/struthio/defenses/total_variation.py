"""Random pixels dropped, and the picture of least total variation put in their place."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense

RATIO = 5.0  # of both step lengths: with it 40 steps end within 1 % of the least, for weights from 0.03 to 0.1


class TotalVariation(Defense):
    """Keeps a random half of the values, and looks for the picture z of least total variation that agrees with them.

    Guo, Rana, Cisse, van der Maaten, 2018, arXiv 1711.00117: z minimises, in each channel,

        |m (z - x)|_2 + weight * (sum_i |z_i - z_i-1|_2 over lines + the same over columns),

    m the mask of what is kept, z_i a whole line. The paper solves it by split Bregman iterations; here it is the
    primal-dual method of Chambolle and Pock, 2011, whose steps are exact for both terms. Since the first term is not
    squared, a small weight leaves what is kept as it is and fills in the rest. The mask is drawn anew for each value of
    each row. The identity stands in for it (Athalye, Carlini, Wagner, 2018, arXiv 1802.00420).

    Args:
        weight: of the variation; 0.03 in the paper.
        drop: the probability of each value of being dropped; 0.5 in the paper.
        steps: of the minimisation.
    """

    paper: ClassVar[str] = "Guo, Rana, Cisse, van der Maaten, 2018, arXiv 1711.00117"
    random = True

    def __init__(self, weight: float = 0.03, drop: float = 0.5, steps: int = 40) -> None:
        super().__init__()
        checks.positive(weight, "weight")
        checks.count(steps, "steps")
        if not 0 < drop < 1:
            raise UserError(f"drop is {drop:g}; a probability between 0 and 1 is needed.")
        self.weight, self.drop, self.steps = weight, drop, steps

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w] in [0, 1], filled in and smoothed."""
        if x.ndim != 4:
            raise UserError(f"total variation needs pictures [n, c, h, w]; x has shape {tuple(x.shape)}.")
        kept = (torch.rand_like(x) >= self.drop).to(x.dtype)
        return least_variation(x, kept, self.weight, self.steps).clamp(0, 1)

    def stand_in(self, x: Tensor) -> Tensor:
        """X itself."""
        return x

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"weight={self.weight:g}, drop={self.drop:g}, steps={self.steps}"


def least_variation(x: Tensor, kept: Tensor, weight: float, steps: int) -> Tensor:
    """The picture that minimises |kept (z - x)|_2 + weight * variation, each channel by itself, [n, c, h, w].

    Args:
        x: pictures [n, c, h, w].
        kept: 1 where z is to agree with x, 0 elsewhere.
        weight: of the variation.
        steps: of the primal-dual method.
    """
    # The product of both rates is 1/8, since differences of lines and columns have a squared norm of at most 8.
    up, down = RATIO**-1 / 8**0.5, RATIO / 8**0.5
    z = ahead = kept * x
    lines, columns = torch.zeros_like(z[:, :, 1:]), torch.zeros_like(z[:, :, :, 1:])
    for _ in range(steps):
        lines = _within(lines + up * ahead.diff(dim=2), weight, 3)
        columns = _within(columns + up * ahead.diff(dim=3), weight, 2)
        before, z = z, z - down * _adjoint(z, lines, columns)
        apart = kept * (z - x)
        length = apart.flatten(2).norm(dim=2)[..., None, None].clamp(min=1e-12)
        z = z - apart * (down / length).clamp(max=1)
        ahead = 2 * z - before
    return z


def _within(dual: Tensor, radius: float, dim: int) -> Tensor:
    """Each line or column of a dual variable, no longer than a radius."""
    length: Tensor = dual.norm(dim=dim, keepdim=True)
    return dual * (radius / length.clamp(min=1e-12)).clamp(max=1)


def _adjoint(z: Tensor, lines: Tensor, columns: Tensor) -> Tensor:
    out = torch.zeros_like(z)
    out[:, :, 1:] += lines
    out[:, :, :-1] -= lines
    out[:, :, :, 1:] += columns
    out[:, :, :, :-1] -= columns
    return out
