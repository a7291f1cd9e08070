"""Turn `-O steps=50` and `--defense jpeg:quality=50` into options, by the types that attacks and defences declare."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from struthio import checks
from struthio.checks import UserError
from struthio.listed import check_options

if TYPE_CHECKING:
    from torch import nn

    from struthio.attacks.base import Attack

TRUTH = {"true": True, "yes": True, "false": False, "no": False}


def make_attack(name: str, texts: Sequence[str], **given: Any) -> Attack:
    """The attack of this name, with options from texts `option=value` and, before these, from `given`.

    Options of `given` that are None are left out. Raises UserError for what the attack does not have or cannot take.
    """
    from struthio.attacks.registry import attack_class, make

    options = {option: value for option, value in given.items() if value is not None}
    return make(name, **{**options, **options_from(name, attack_class(name), texts)})


def options_from(name: str, kind: type[Any], texts: Sequence[str]) -> dict[str, Any]:
    """Options of a dataclass from texts `option=value`. Raises UserError for what it does not have or cannot take."""
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    options: dict[str, Any] = {}
    for text in texts:
        option, equals, value = text.partition("=")
        option = option.strip().replace("-", "_")
        if not equals:
            raise UserError(f"-O takes option=value, such as -O steps=50; {text!r} has no '='.")
        check_options(name, [option], types)
        if option in options:
            raise UserError(f"{option} of {name} was given twice; give it once.")
        options[option] = convert(value.strip(), types[option], f"{name}'s {option}")
    return options


def put_around(model: nn.Module, texts: Sequence[str]) -> nn.Module:
    """The model with defences around it, the first of them nearest to it.

    Args:
        model: as loaded; its `input_size`, `class_names` and `abstains` are kept.
        texts: each `NAME` or `NAME:OPTION=VALUE,OPTION=VALUE`; a value without a name is that of the first option.

    Raises:
        UserError: for a name or an option that does not exist, or a value that it does not take.
    """
    from struthio.defenses.registry import defended, defense_class, options_of

    for text in texts:
        name, _, rest = text.partition(":")
        types = {option: str(found.annotation) for option, found in options_of(defense_class(name)).items()}
        options: dict[str, Any] = {}
        for part in filter(None, rest.split(",")):
            option, equals, value = part.partition("=")
            option, value = (option.strip().replace("-", "_"), value) if equals else (next(iter(types), ""), part)
            check_options(name, [option], types)
            options[option] = convert(value.strip(), types[option], f"{name}'s {option}")
        kept = {known: getattr(model, known, None) for known in ("input_size", "class_names", "abstains")}
        model = defended(model, name, **options)
        for known, value_kept in kept.items():
            setattr(model, known, value_kept)
    return model


def convert(text: str, kinds: str, what: str) -> Any:
    """A value of one of the kinds in an annotation such as `int | None`, from its text."""
    for kind in kinds.split("|"):
        try:
            return _convert(text, kind.strip())
        except (ValueError, KeyError):
            continue
    if "Loss" in kinds:
        from struthio.losses import BY_NAME

        raise UserError(f"{what} is a loss, one of {', '.join(BY_NAME)}; {text!r} is none.")
    raise UserError(f"{what} takes {kinds.replace('|', 'or').replace('  ', ' ')}; {text!r} is not that.")


def _convert(text: str, kind: str) -> Any:
    if kind == "Loss":
        from struthio.losses import BY_NAME

        return BY_NAME[text.lower()]()
    if kind == "bool":
        return TRUTH[text.lower()]
    if kind == "None" and text.lower() == "none":
        return None
    if kind == "str":
        return text
    if kind == "float":
        return checks.number(text)
    return {"int": int}[kind](text)
