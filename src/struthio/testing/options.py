"""Other values for an attack's options, so that an option which changes nothing is found out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.gradients import Autograd, Scaled
from struthio.losses import CrossEntropy, Logit, Margin

# By the option's name first; what is not named here is changed by its type.
BY_NAME: dict[str, tuple[Any, ...]] = {
    "keep": ("first", "best", "last"),
    "loss": (CrossEntropy(), Margin(), Logit()),
    "gradient": (Autograd(), Scaled(copies=2)),
    "step": (0.3,),
    "steps": (3, 9),
}


def variants(attack: Attack, option: str, alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> list[Attack]:
    """The attack with other values of one option; values that it refuses are passed over."""
    value = getattr(attack, option)
    values = {**BY_NAME, **(alternatives or {})}.get(option) or _by_type(value)
    return [made for other in values if other != value for made in _made(attack, option, other)]


def _made(attack: Attack, option: str, value: Any) -> Iterator[Attack]:
    try:
        yield replace(attack, **{option: value})
    except UserError:
        return


def _by_type(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 2, 1)
    if isinstance(value, float):
        return (value * 0.5, value * 2, 1.0)
    if isinstance(value, Attack):
        return tuple(variant for field in dataclasses.fields(value) for variant in variants(value, field.name))
    if isinstance(value, tuple):
        return (value + value, value[:1])
    return ()
