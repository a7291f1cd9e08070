"""One stable text for any option value, so that two runs with the same options say the same thing."""

from __future__ import annotations

import dataclasses
import hashlib
from typing import Any


def describe(value: Any) -> str:
    """Write a value as the expression that makes it, leaving out options at their defaults.

    Radii print as the fraction of 255 that they are: 0.031372 becomes 8/255.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        shown = [
            f"{field.name}={describe(getattr(value, field.name))}"
            for field in dataclasses.fields(value)
            if field.init and not _is_default(field, getattr(value, field.name))
        ]
        return f"{type(value).__name__}({', '.join(shown)})"
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return repr(value)
    if isinstance(value, float):
        return number(value)
    if isinstance(value, (tuple, list)):
        return "(" + ", ".join(map(describe, value)) + ("," if len(value) == 1 else "") + ")"
    if hasattr(value, "shape") and hasattr(value, "dtype"):
        return f"{type(value).__name__}{tuple(value.shape)}#{_digest(value)}"
    return getattr(value, "__qualname__", type(value).__qualname__)


def _digest(values: Any) -> str:
    """A few letters by which an array is told from others of its shape."""
    held = values.detach().cpu().double().numpy() if hasattr(values, "detach") else values
    return hashlib.sha256(held.tobytes()).hexdigest()[:6]


def number(value: float) -> str:
    """Write a number shortly; multiples of 1/255 (halves included) as fractions of 255."""
    text, halves = f"{value:.6g}", value * 510
    if 0 < value < 1 and float(text) != value and abs(halves - round(halves)) < 1e-6:
        return f"{halves / 2:.4g}/255"
    return text


def _is_default(field: dataclasses.Field[Any], value: Any) -> bool:
    default = field.default
    if default is dataclasses.MISSING and field.default_factory is not dataclasses.MISSING:
        default = field.default_factory()
    if hasattr(value, "shape") or hasattr(default, "shape"):
        return value is default
    if dataclasses.is_dataclass(value):  # which may hold tensors
        return type(value) is type(default) and describe(value) == describe(default)
    return bool(type(value) is type(default) and value == default)
