"""Attacks by name. Being listed is being tested: the contract suite runs every promise on every line."""

from __future__ import annotations

import dataclasses
import importlib
from typing import Any

from struthio.attacks.base import Attack
from struthio.checks import UserError, near_misses

ATTACKS: dict[str, str] = {
    "fgsm": "struthio.attacks.pgd:FGSM",
    "r-fgsm": "struthio.attacks.pgd:RFGSM",
    "bim": "struthio.attacks.pgd:BIM",
    "pgd": "struthio.attacks.pgd:PGD",
    "mi-fgsm": "struthio.attacks.transfer:MIFGSM",
    "ni-fgsm": "struthio.attacks.transfer:NIFGSM",
    "si-ni-fgsm": "struthio.attacks.transfer:SINIFGSM",
    "di-fgsm": "struthio.attacks.transfer:DIFGSM",
    "ti-fgsm": "struthio.attacks.transfer:TIFGSM",
    "vmi-fgsm": "struthio.attacks.transfer:VMIFGSM",
    "apgd": "struthio.attacks.auto:APGD",
    "apgd-t": "struthio.attacks.auto:APGDT",
}


def attack_class(name: str) -> type[Attack]:
    """The attack of this name. Raises UserError with the nearest names where there is none."""
    if name.lower() not in ATTACKS:
        raise UserError(f"no attack is called {name!r}. {near_misses(name, list(ATTACKS), 'attacks')}")
    module, _, attribute = ATTACKS[name.lower()].partition(":")
    found: type[Attack] = getattr(importlib.import_module(module), attribute)
    return found


def make(name: str, **options: Any) -> Attack:
    """An attack by name with options by name. Raises UserError for an unknown option, listing those that exist."""
    kind = attack_class(name)
    known = [field.name for field in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise UserError(f"{name} has no option {option!r}. {near_misses(option, known, 'options')}")
    return kind(**options)
