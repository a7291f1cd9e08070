"""What every attack promises. `check_attack(MyAttack)` tries all of it; `attack_promises()` lists it for pytest."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

from struthio.attacks.base import Attack
from struthio.testing.account import ACCOUNT
from struthio.testing.conduct import CONDUCT
from struthio.testing.options import every_option_changes_something
from struthio.testing.settings import Check


def attack_promises(alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> list[Check]:
    """Every promise as a function of an attack (or of its class), which raises BrokenPromise where it is not kept.

        @pytest.mark.parametrize("promise", attack_promises())
        def test_my_attack(promise):
            promise(MyAttack())

    Args:
        alternatives: other values for options, by name, where none can be guessed from the type: {"shape": ("round",)}.
    """
    options = functools.partial(every_option_changes_something, alternatives=alternatives)
    return [*CONDUCT, *ACCOUNT, functools.wraps(every_option_changes_something)(options)]


def check_attack(attack: Attack | type[Attack], alternatives: Mapping[str, tuple[Any, ...]] | None = None) -> None:
    """Try every promise on an attack, in every norm that it declares. Raises BrokenPromise at the first that breaks.

    Args:
        attack: an attack, or its class, which is then tried with its default options. It is tried on small networks and
            with few steps.
        alternatives: as for `attack_promises`.
    """
    for promise in attack_promises(alternatives):
        promise(attack)
