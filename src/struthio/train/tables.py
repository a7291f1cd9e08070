"""Frozen dataclasses from tables of plain values: checked by pydantic, every mistake with its place."""

from __future__ import annotations

import copy
import dataclasses
import json
import types
import typing
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any

from struthio import checks, losses
from struthio.attacks.base import Attack
from struthio.attacks.registry import attack_class
from struthio.checks import UserError, near_misses
from struthio.threats.table import threat
from struthio.train.recipe import Recipe
from struthio.train.registry import recipe_class
from struthio.types import Loss, Model, Threat

BY_NAME: dict[Any, Callable[[str], type[Any]]] = {Attack: attack_class, Recipe: recipe_class}
Table = dict[str, Any]
Place = tuple[str, ...]


@dataclass
class Reader:
    """Reads tables, and gathers what is wrong with them: that is left out, and the rest is read on.

    An attack or a recipe is a name, or a table with its `name` and its options; a table without a name changes the
    options of the one that stands there by default. A threat is its text (linf:8/255), a loss its short name, a number
    also a fraction, and a model the spec that `load` takes.

    Args:
        load: makes a model from its spec.
    """

    load: Callable[[str], Any]
    mistakes: list[str] = field(default_factory=list)
    keys: dict[Place, list[str]] = field(default_factory=dict)
    left_out: set[Place] = field(default_factory=set)

    def read(self, table: Table, kinds: Mapping[str, Any]) -> Table | None:
        """The values of a table whose keys are of these kinds, or None where there are mistakes."""
        from pydantic import ConfigDict, ValidationError, create_model

        self.keys[()] = list(kinds)
        fields: Table = {
            name: (self._hint(kind, table.get(name), (name,)), None if name in table or _optional(kind) else ...)
            for name, kind in kinds.items()
        }
        try:
            found = create_model("Table", __config__=ConfigDict(extra="forbid"), **fields).model_validate(table)
        except ValidationError as error:
            self._read_on(table, kinds, error.errors(include_url=False))
            return None
        built = {name: self._built(getattr(found, name), (name,)) for name in kinds}
        return None if self.mistakes else built

    def _read_on(self, table: Table, kinds: Mapping[str, Any], wrong: Sequence[Mapping[str, Any]]) -> None:
        """Note what is wrong, and look for mistakes in the rest. A table that lacks what it needs is left out whole."""
        rest = copy.deepcopy(table)
        for one in wrong:
            place = tuple(map(str, one["loc"]))
            if place not in self.left_out:
                self.mistakes.append(self._mistake(one))
            self.left_out.add(place)
            around = place[:-1] if one["type"] == "missing" else place
            if around:
                _leave_out(rest, around)
        self.read(rest, {name: kind for name, kind in kinds.items() if name in rest})

    def _hint(self, hint: Any, value: Any, place: Place, default: Any = None) -> Any:
        """What pydantic is to check a value against."""
        from pydantic import BeforeValidator

        optional, hint = _optional(hint), _kind(hint)
        if hint in BY_NAME or dataclasses.is_dataclass(hint):
            return Any if value is None and hint is not Recipe else self._options(hint, value, place, default)
        if hint in CONVERTERS:
            kept: Any = Any if hint is not float else float | None if optional else float
            return Annotated[kept, BeforeValidator(CONVERTERS[hint])]
        if hint == Model:
            return Annotated[Any, BeforeValidator(self._model)]
        if _models(hint):
            return Annotated[Any, BeforeValidator(lambda specs: tuple(map(self._model, specs)))]
        if hint in (int, bool, str) or typing.get_origin(hint) is tuple:
            return hint | None if optional else hint
        return Annotated[Any, BeforeValidator(_only_in_python)]

    def _options(self, kind: Any, value: Any, place: Place, default: Any) -> Any:
        """The options of a dataclass, or of the attack or recipe that the value names, as a model of pydantic."""
        from pydantic import BeforeValidator, ConfigDict, create_model

        table: Table = value if isinstance(value, dict) else {"name": value}
        fields: Table = {}
        make: Any = kind
        if kind in BY_NAME and "name" not in table and default is not None:
            kind, make = type(default), partial(dataclasses.replace, default)
        elif kind in BY_NAME:
            try:
                make = kind = BY_NAME[kind](str(table.get("name", "")))
            except UserError as error:
                return Annotated[Any, BeforeValidator(_raising(error, table))]
            fields["name"] = (str, ...)
        hints = typing.get_type_hints(kind)
        for option in dataclasses.fields(kind):
            there = None if option.default is dataclasses.MISSING else option.default
            there = option.default_factory() if option.default_factory is not dataclasses.MISSING else there
            needed = there is None and option.default is dataclasses.MISSING and make is kind
            hinted = self._hint(hints[option.name], table.get(option.name), (*place, option.name), there)
            fields[option.name] = (hinted, ... if needed else None)
        self.keys[place] = list(fields)
        made = create_model(kind.__name__, __config__=ConfigDict(extra="forbid"), **fields)
        made.__made_by__ = make  # type: ignore[attr-defined]
        return Annotated[made, BeforeValidator(lambda given: {"name": given} if isinstance(given, str) else given)]

    def _built(self, found: Any, place: Place) -> Any:
        """The dataclass that checked options make; what it refuses is one more mistake."""
        make = getattr(type(found), "__made_by__", None)
        if make is None:
            return found
        fields, options = type(found).model_fields, {}
        for name in [name for name in fields if name in found.model_fields_set and name != "name"]:
            before = len(self.mistakes)
            built = self._built(getattr(found, name), (*place, name))
            if len(self.mistakes) == before:
                options[name] = built
        needed = {name for name, option in fields.items() if option.is_required()} - {"name"}
        while needed <= options.keys():
            try:
                return make(**options)
            except UserError as error:
                self.mistakes.append(f"{'.'.join(place)}: {error}")
                wrong = _culprit(make, options, str(error), options.keys() - needed)
            if wrong is None:
                return None
            del options[wrong]
        return None

    def _model(self, spec: Any) -> Any:
        if not isinstance(spec, str):
            raise ValueError("a model is written as text, such as 'zoo:digits-cnn'")
        return self.load(spec)

    def _mistake(self, error: Mapping[str, Any]) -> str:
        """One line: where, what is wrong, what was given."""
        place = tuple(str(part) for part in error["loc"])
        where = ".".join(place)
        if error["type"] == "extra_forbidden":
            return f"{where}: there is no such key. {near_misses(place[-1], self.keys[place[:-1]], 'keys')}"
        if error["type"] == "missing":
            return f"{where}: it is missing, and it is needed."
        said = PLAINLY.get(error["type"]) or str(error["msg"]).removeprefix("Value error, ")
        given = error["input"] if isinstance(error["input"], (str, int, float, bool)) else None
        shown = "" if given is None or str(given) in said else f" (given: {json.dumps(given)})"
        return f"{where}: {said}{shown}"


def _leave_out(table: Table, place: Place) -> None:
    """Take out what stands at a place, or what is around it where the place is within a list or a text."""
    key, *deeper = place
    if deeper and isinstance(table.get(key), dict):
        _leave_out(table[key], tuple(deeper))
    else:
        table.pop(key, None)


def _culprit(make: Callable[..., Any], options: Table, said: str, among: Set[str]) -> str | None:
    """The first option without which something else is said of the others, or nothing."""
    for name in [name for name in options if name in among]:
        try:
            make(**{other: value for other, value in options.items() if other != name})
        except UserError as error:
            if str(error) == said:
                continue
        return name
    return None


def _kind(hint: Any) -> Any:
    """What is meant by `Kind | None`."""
    several = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    return next((one for one in several if one is not type(None)), hint)


def _optional(hint: Any) -> bool:
    return isinstance(hint, types.UnionType) and type(None) in typing.get_args(hint)


def _models(hint: Any) -> bool:
    return typing.get_origin(hint) is tuple and typing.get_args(hint)[0] == Model


def _threat(value: Any) -> Any:
    if not isinstance(value, str):
        raise ValueError("a threat is written as text, such as 'linf:8/255'")
    return threat(value)


def _loss(value: Any) -> Any:
    if value not in losses.BY_NAME:
        raise ValueError(f"a loss is one of {', '.join(losses.BY_NAME)}")
    return losses.BY_NAME[value]()


def _number(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        return checks.number(value)
    except ValueError:
        raise ValueError("a number is needed, such as 0.03 or '8/255'") from None


def _only_in_python(value: Any) -> Any:
    raise ValueError("this option takes an object of Python; leave it out here, or train with struthio.train.fit")


def _raising(error: UserError, table: Table) -> Callable[[Any], Any]:
    def refuse(value: Any) -> Any:
        raise ValueError(str(error) if "name" in table else f"a name is needed. {error}")

    return refuse


PLAINLY = {"model_type": "a table of options is needed", "string_type": "text in quotes is needed"}  # for pydantic's
CONVERTERS: dict[Any, Callable[[Any], Any]] = {Threat: _threat, Loss: _loss, float: _number}
