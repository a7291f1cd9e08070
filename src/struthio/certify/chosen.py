"""What a walk may choose freely, since every choice gives a bound; a few steps of Adam choose well.

Slopes of lower lines: Xu et al., 2021, arXiv 2011.13824 (alpha-CROWN). Multipliers of cuts: Wang et al., 2021, arXiv
2103.06624 (beta-CROWN). Choices are looked for in single precision; what is proved with them is worked out in double.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from struthio.certify.lines import Lines

RATE, LAST = 0.5, 0.1  # Adam's rate at first, and the share of it at the end


class Chosen:
    """The choices of some questions, made where a walk first asks for them, and remembered.

    Args:
        slopes: of the lower lines that are free to turn, [m, ...], by the number of the node, in the shape in which the
            walk meets them.
        multipliers: of cuts, at least 0, [m, cuts].
    """

    def __init__(self, slopes: dict[int, Tensor] | None = None, multipliers: Tensor | None = None) -> None:
        self.slopes, self.multipliers = dict(slopes or {}), multipliers

    def slope(self, node: int, lines: Lines) -> Tensor:
        """The slopes of a node's lower lines; at first those that the lines have."""
        if node not in self.slopes:
            self.slopes[node] = lines.below.detach().clone()
        with torch.no_grad():  # Adam may have left what is allowed, and so may rounding to single precision
            self.slopes[node].clamp_(lines.least, 1)
        return self._free(self.slopes[node])

    def multiplier(self, like: Tensor) -> Tensor:
        """The multipliers of all cuts; 0 at first."""
        if self.multipliers is None:
            self.multipliers = torch.zeros_like(like)
        with torch.no_grad():
            self.multipliers.clamp_(min=0)
        return self._free(self.multipliers)

    def _free(self, value: Tensor) -> Tensor:
        return value.requires_grad_(torch.is_grad_enabled())

    def values(self) -> list[Tensor]:
        """Every tensor of choices."""
        return [*self.slopes.values(), *([] if self.multipliers is None else [self.multipliers])]

    def to(self, like: Tensor) -> Chosen:
        """A copy in another precision."""
        slopes = {node: value.detach().to(like.dtype, copy=True) for node, value in self.slopes.items()}
        return Chosen(slopes, None if self.multipliers is None else self.multipliers.detach().to(like.dtype, copy=True))

    def take(self, other: Chosen, rows: Tensor) -> None:
        """The choices of another for these questions, bool [m]."""
        for mine, value in zip(self.values(), other.values(), strict=True):
            mine[rows] = value.detach()[rows]


def tuned(bound: Callable[[Chosen], Tensor], steps: int, chosen: Chosen, enough: Tensor | None = None) -> Chosen:
    """The choices with the best of the lower bounds [m] that Adam passes, each question by itself.

    Args:
        bound: from choices to lower bounds.
        steps: of Adam, its rate falling from 0.5 to 0.05.
        chosen: where it begins; changed on the way.
        enough: bounds [m] beyond which no better ones are looked for; None for no limit.
    """
    optimizer: torch.optim.Optimizer | None = None
    for step in range(steps + 1):
        with torch.set_grad_enabled(step < steps):
            found = bound(chosen)
        now = found.detach()
        if step == 0:
            best, kept = now, chosen.to(now)
        else:
            better = now > best if enough is None else (now > best) & (best <= enough)
            kept.take(chosen, better)
            best = torch.where(better, now, best)
        if step == steps or not found.requires_grad or (enough is not None and bool((best > enough).all())):
            break
        optimizer = optimizer or torch.optim.Adam(chosen.values(), RATE, maximize=True)
        optimizer.param_groups[0]["lr"] = RATE * LAST ** (step / steps)
        optimizer.zero_grad()
        found.backward(torch.ones_like(found))
        optimizer.step()
    return kept
