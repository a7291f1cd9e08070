"""Turn `-O steps=50 -O loss=dlr` into the options of an attack, by the types that the attack declares."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from struthio.checks import UserError, near_misses

if TYPE_CHECKING:
    from struthio.attacks.base import Attack

LOSSES = {"ce": "CrossEntropy", "margin": "Margin", "logit": "Logit", "dlr": "DLR"}
TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def make_attack(name: str, texts: Sequence[str], **given: Any) -> Attack:
    """The attack of this name, with options from texts `option=value` and, before these, from `given`.

    Options of `given` that are None are left out. Raises UserError for what the attack does not have or cannot take.
    """
    from struthio.attacks.registry import attack_class, make

    types = {field.name: str(field.type) for field in dataclasses.fields(attack_class(name))}
    options = {option: value for option, value in given.items() if value is not None}
    for text in texts:
        option, equals, value = text.partition("=")
        option = option.strip().replace("-", "_")
        if not equals:
            raise UserError(f"-O takes option=value, such as -O steps=50; {text!r} has no '='.")
        if option not in types:
            raise UserError(f"{name} has no option {option!r}. {near_misses(option, list(types), 'options')}")
        options[option] = convert(value.strip(), types[option], f"{name}'s {option}")
    return make(name, **options)


def convert(text: str, kinds: str, what: str) -> Any:
    """A value of one of the kinds in an annotation such as `int | None`, from its text."""
    for kind in kinds.split("|"):
        try:
            return _convert(text, kind.strip())
        except (ValueError, KeyError, ZeroDivisionError):
            continue
    if "Loss" in kinds:
        raise UserError(f"{what} is a loss, one of {', '.join(LOSSES)}; {text!r} is none.")
    raise UserError(f"{what} takes {kinds.replace('|', 'or').replace('  ', ' ')}; {text!r} is not that.")


def _convert(text: str, kind: str) -> Any:
    if kind == "Loss":
        from struthio import losses

        return getattr(losses, LOSSES[text.lower()])()
    if kind == "bool":
        return TRUTH[text.lower()]
    if kind == "None" and text.lower() == "none":
        return None
    if kind == "str":
        return text
    if kind == "float":
        return float(Fraction(text))
    return {"int": int}[kind](text)
