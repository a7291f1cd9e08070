"""What stands in a table of names and places: each is imported when it is asked for, and not before."""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from struthio.checks import UserError, near_misses


def find(name: str, places: Mapping[str, str], one: str, many: str) -> Any:
    """What a name stands for; upper and lower case are alike.

    Args:
        name: as the user wrote it.
        places: "module:attribute" by name.
        one: what it is, such as "attack"; `many` likewise, for the message.

    Raises:
        UserError: with the nearest names where there is none.
    """
    if name.lower() not in places:
        raise UserError(f"no {one} is called {name!r}. {near_misses(name, list(places), many)}")
    module, _, attribute = places[name.lower()].partition(":")
    return getattr(importlib.import_module(module), attribute)


def check_options(name: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Raise UserError, with the nearest options, where one is given that does not exist."""
    known = list(known)
    for option in given:
        if option not in known:
            raise UserError(f"{name} has no option {option!r}. {near_misses(option, known, 'options')}")
