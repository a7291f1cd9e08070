"""Other values for an attack's options, so that an option which changes nothing is found out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch

from struthio.attacks.base import Attack
from struthio.attacks.minimal.brendel_bethge import BrendelBethge
from struthio.attacks.pgd import FGSM
from struthio.attacks.starts import OutputDiversified
from struthio.checks import UserError
from struthio.describe import describe
from struthio.gradients import Autograd, Scaled
from struthio.losses import CrossEntropy, Logit, Margin
from struthio.result import Result
from struthio.testing.require import require
from struthio.testing.settings import Setting, norms_of, plainly, quick

# By the option's name first; what is not named here is changed by its type.
BY_NAME: dict[str, tuple[Any, ...]] = {
    "basis": ("pixel", "dct"),
    "classes": (2, 3),
    "direction": ("up", "down", "both"),
    "exploration": (0.5,),
    "learning": (1.0,),
    "longest": (0.002,),
    "queries": (7, 90),
    "rule": ("L1", "EN"),
    "shrink": (0.45, 100.0),
    "sigma": (0.3,),
    "solver": ("adam", "newton"),
    "keep": ("first", "best", "last"),
    "order": ("score", "distance"),
    "loss": (CrossEntropy(), Margin(), Logit()),
    "gradient": (Autograd(), Scaled(copies=2)),
    "first": (0.2,),
    "radius": (0.1, 0.01),
    "step": (0.3, 0.1),
    "steps": (3, 9, 1),
    "start": (torch.zeros(()), torch.ones(()), OutputDiversified()),
    "after": (FGSM(),),
    "last": (BrendelBethge(steps=3),),
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


def every_option_changes_something(
    attack: Attack | type[Attack],
    norms: tuple[str, ...] | None = None,
    alternatives: Mapping[str, tuple[Any, ...]] | None = None,
) -> None:
    """For each option some other value gives another result or another cost, in some norm."""
    made = quick(attack() if isinstance(attack, type) else attack)
    places = plainly(norms or norms_of(made))
    usual = [place.run(made) for place in places]
    for field in dataclasses.fields(made):
        others = variants(made, field.name, alternatives)
        name = f"{describe(made)}: option {field.name}"
        require(bool(others), f"{name} has no other value to try; give one: alternatives={{{field.name!r}: (...,)}}")
        require(any(_differs(other, places, usual) for other in others), f"{name} changes nothing")


def _differs(attack: Attack, places: list[Setting], usual: list[Result]) -> bool:
    for place, before in zip(places, usual, strict=True):
        after = place.run(attack)
        if any(not torch.equal(getattr(after, name), getattr(before, name)) for name in ("x_adv", "forwards")):
            return True
    return False
