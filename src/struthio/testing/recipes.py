"""What every training recipe promises. `check_recipe(MyRecipe)` tries all of it; `recipe_promises()` lists it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from struthio.describe import describe
from struthio.testing import recipe_conduct as conduct
from struthio.testing.recipe_bench import made
from struthio.testing.recipe_options import changes_with_every_option
from struthio.testing.require import BrokenPromise
from struthio.train.recipe import Recipe

Promise = Callable[[Recipe | type[Recipe]], None]

PROMISES: list[Promise] = [
    conduct.gives_a_loss_for_all_that_is_trained,
    conduct.answers_the_same_again,
    conduct.leaves_no_trace,
    conduct.leaves_no_trace_when_the_model_breaks,
    conduct.is_plain_at_radius_zero,
    conduct.prepares_and_finishes,
    conduct.learns,
    conduct.refuses_wrong_labels,
    conduct.is_documented,
]


def recipe_promises(alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> list[Promise]:
    """Every promise as a function of a recipe (or of its class), which raises BrokenPromise where it is not kept.

    Args:
        alternatives: other values for options, by name, where none can be guessed from the type: {"shape": ("round",)}.
    """

    @functools.wraps(changes_with_every_option)
    def options(recipe: Recipe | type[Recipe]) -> None:
        changes_with_every_option(recipe, alternatives)

    every: list[Promise] = [*PROMISES, options]
    return [_named(promise) for promise in every]


def _named(promise: Promise) -> Promise:
    @functools.wraps(promise)
    def tried(recipe: Recipe | type[Recipe]) -> None:
        try:
            promise(recipe)
        except BrokenPromise as broken:
            raise BrokenPromise(f"{describe(made(recipe))}: {broken}") from None

    return tried


def check_recipe(recipe: Recipe | type[Recipe], alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> None:
    """Try every promise on a training recipe. Raises BrokenPromise at the first that breaks.

    Args:
        recipe: a recipe, or its class, which is then tried with its default options. It is tried on a small network and
            eight rows; what it needs besides (a teacher, a stored set) has to fit these: pictures [n, 3, 8, 8] with
            values in [0, 1], five classes.
        alternatives: as for `recipe_promises`.
    """
    for promise in recipe_promises(alternatives):
        promise(recipe)
