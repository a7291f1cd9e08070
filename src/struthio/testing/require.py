"""How a promise is made and how its breach is reported."""

from __future__ import annotations

from torch import Tensor

CLOSE = 1e-6  # how far beyond the radius and the limits rounding may carry a value


class BrokenPromise(AssertionError):
    """An attack or a threat does not do what all of its kind must."""


def require(kept: bool | Tensor, message: str) -> None:
    """Raise BrokenPromise with this message unless the condition holds."""
    if not bool(kept):
        raise BrokenPromise(message)


def off(a: Tensor, b: Tensor) -> float:
    """The largest difference between two tensors of the same shape."""
    return float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
