"""Other values for a recipe's options, so that an option which changes nothing is found out."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from struthio.attacks import FGSM, PGD
from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.describe import describe
from struthio.testing.recipe_bench import Bench, made, same
from struthio.testing.require import require
from struthio.threats import L2, Linf
from struthio.train.recipe import Recipe

# By the option's name first; what is not named here is changed by its type.
BY_NAME: dict[str, tuple[Any, ...]] = {
    "aim": ("predicted", "true"),
    "attack": (FGSM(), PGD(steps=2, step=0.1, keep="last")),
    "ramp": (1.0,),
    "threat": (Linf(0.1), L2(0.5)),
    "warmup": (1.0,),
}


def changes_with_every_option(
    recipe: Recipe | type[Recipe], alternatives: Mapping[str, tuple[Any, ...]] | None = None
) -> None:
    """For each option some other value gives other losses or gradients, or other weights to train."""
    usual = made(recipe)
    before = list(_course(usual))
    for option in dataclasses.fields(usual):
        others = list(_variants(usual, option.name, alternatives or {}))
        name = f"option {option.name}"
        require(bool(others), f"{name} has no other value to try; give one: alternatives={{{option.name!r}: (...,)}}")
        require(any(_differs(other, before) for other in others), f"{name} changes nothing")


def _differs(recipe: Recipe, before: list[Tensor | None]) -> bool:
    """Whether its course leaves this one; it is followed no further than that."""
    both = zip_longest(_course(recipe), before, fillvalue=torch.tensor(torch.nan))
    return any(not same([one], [other]) for one, other in both)


def _course(recipe: Recipe) -> Iterator[Tensor | None]:
    """Everything to be seen of a recipe in three steps, at the start, early and late, without an optimiser."""
    bench = Bench(recipe)
    yield torch.tensor(float(recipe.replays))
    for step, done in enumerate((0.0, 0.1, 0.9)):
        loss, slopes = bench.slopes(step, done)
        yield loss
        yield from (None if slope is None else slope.clone() for slope in slopes.values())
        with torch.no_grad():
            recipe.after_step(bench.trained, bench.moment(step, done))
    yield from recipe.finish(bench.trained).state_dict().values()


def _variants(recipe: Recipe, option: str, alternatives: Mapping[str, tuple[Any, ...]]) -> Iterator[Recipe]:
    value = getattr(recipe, option)
    for other in {**BY_NAME, **alternatives}.get(option) or _by_type(value):
        if describe(other) != describe(value):
            try:
                yield replace(recipe, **{option: other})
            except UserError:
                continue


def _by_type(value: Any) -> tuple[Any, ...]:
    if isinstance(value, bool):
        return (not value,)
    if isinstance(value, int):
        return (value + 2, 1)
    if isinstance(value, float):
        return (value * 0.5, value * 2, 0.5) if value else (0.5, 0.1)
    if isinstance(value, Attack):
        return BY_NAME["attack"]
    if isinstance(value, Recipe):
        fields = dataclasses.fields(value)
        return tuple(variant for part in fields for variant in _variants(value, part.name, {}))
    return ()
