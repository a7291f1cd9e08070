"""Places of an input as a threat sees them: pixels with all their channels, or single values."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.threats import L0, PIXELS, Box
from struthio.types import Threat


def innermost(threat: Threat) -> Threat:
    """The threat inside all masks and levels."""
    while hasattr(threat, "threat"):
        threat = threat.threat
    return threat


def changes_values(threat: Threat, attack: str) -> None:
    """Refuse a threat that does not add a change to x, such as one that turns it."""
    if getattr(threat, "p", None) is None:
        raise UserError(
            f"{attack} changes single values of x, which {type(threat).__name__} does not allow. Take RandomSearch(), "
            "which draws from any threat, or a ball such as Linf(8/255)."
        )


def limits(threat: Threat) -> Box:
    """The limits of the input; [0, 1] where the threat sets none."""
    return getattr(innermost(threat), "box", None) or PIXELS


def by_place(threat: Threat, values: Tensor) -> Tensor:
    """Values [n, ...] as [n, channels, places]: one channel where the threat counts values and not pixels."""
    ball = innermost(threat)
    return values.flatten(2) if isinstance(ball, L0) and ball.unit == "pixel" else values.flatten(1)[:, None]


def spread(places: Tensor, z: Tensor) -> Tensor:
    """One number a place, [n, places], in a shape that fits z."""
    return places.reshape(z.shape if places[0].numel() == z[0].numel() else (len(z), 1, *z.shape[2:]))


def lots(lot: Tensor, among: Tensor, count: Tensor) -> tuple[Tensor, Tensor]:
    """The `count` [n, 1] places with the smallest lots among those allowed, in the order of their lots.

    Returns:
        Their numbers, [n, k] with k the largest count, and which of the k are meant, bool [n, k].
    """
    most = min(int(count.max()), lot.shape[1])
    drawn = lot.masked_fill(~among, 2.0).topk(most, dim=1, largest=False)
    return drawn.indices, (drawn.values < 2.0) & (torch.arange(most, device=lot.device) < count)
