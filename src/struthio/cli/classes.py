"""Find a class by number, by name, or by one of its synonyms."""

from __future__ import annotations

from collections.abc import Sequence

from struthio.checks import UserError, near_misses


def find_class(wanted: str, names: Sequence[str] | None) -> int:
    """The number of the class that is meant.

    Args:
        wanted: a class number, or a name in letters of any case; a first name goes before a synonym.
        names: each class's name, or its names with commas between them: "ostrich, Struthio camelus". None: unknown.

    Raises:
        UserError: for a name that is unknown (near misses are named) or that several classes bear.
    """
    text = wanted.strip()
    if text.isdecimal():
        return _in_range(int(text), names)
    if names is None:
        raise UserError(f"the model has no class names, so {wanted!r} cannot be found. Give the class number.")
    for bearers in (_called(text, names, first=True), _called(text, names, first=False)):
        if len(bearers) == 1:
            return bearers[0]
        if bearers:
            listed = ", ".join(f"{number} ({names[number]})" for number in bearers)
            raise UserError(f"{wanted!r} is the name of {len(bearers)} classes. Give the number of one: {listed}.")
    every = list(dict.fromkeys(word for name in names for word in _words(name)))
    raise UserError(f"no class is called {wanted!r}. {near_misses(text, every, 'class names')}")


def class_name(number: int, names: Sequence[str] | None) -> str:
    """The first name of a class, or its number in words."""
    return names[number].split(",")[0].strip() if names and number < len(names) else f"class {number}"


def _in_range(number: int, names: Sequence[str] | None) -> int:
    if names is not None and number >= len(names):
        raise UserError(f"there is no class {number}: the model knows classes 0 to {len(names) - 1}.")
    return number


def _words(name: str) -> list[str]:
    return [word.strip() for word in name.split(",")]


def _called(text: str, names: Sequence[str], first: bool) -> list[int]:
    wanted = text.casefold()
    if first:
        return [n for n, name in enumerate(names) if wanted in (name.casefold(), _words(name)[0].casefold())]
    return [n for n, name in enumerate(names) if wanted in [word.casefold() for word in _words(name)]]
