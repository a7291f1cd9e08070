"""Where an answer of a service holds its scores or labels."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from struthio.checks import UserError, near_misses

KINDS = ("scores", "probabilities", "labels")
COMMON = ("predictions", "outputs", "results", "data")
NAME = ("label", "class", "name")  # where services name a class, and its score beside it
SCORE = ("score", "probability", "confidence")


def find(answer: Any, path: str) -> Any:
    """What stands at a place of an answer: `predictions`, `outputs.0.data`, or `results.*.score` for one of each.

    Raises UserError where the answer has no such place.
    """
    return _find(answer, path.split(".") if path else [], path)


def _find(answer: Any, steps: list[str], path: str) -> Any:
    if not steps:
        return answer
    step, rest = steps[0], steps[1:]
    if isinstance(answer, list):
        if step == "*":
            return [_find(part, rest, path) for part in answer]
        if step.isdigit() and int(step) < len(answer):
            return _find(answer[int(step)], rest, path)
        raise UserError(f"the answer has no place {path!r}: at {step!r} it holds a list of {len(answer)}.")
    if isinstance(answer, dict):
        if step in answer:
            return _find(answer[step], rest, path)
        raise UserError(f"the answer has no place {path!r}. {near_misses(step, list(answer), 'fields of it')}")
    raise UserError(f"the answer has no place {path!r}: at {step!r} it holds a {type(answer).__name__}.")


def usual(answer: Any, outputs: str, rows: int) -> Any:
    """The scores or labels where services usually put them: the answer itself, or a field of that or a common name.

    Raises UserError where they are deeper within, with the places where they may be.
    """
    found = answer
    if isinstance(answer, dict):
        found = next((answer[name] for name in (outputs, *COMMON) if name in answer), answer)
    first = found[0] if isinstance(found, list) and found else found
    if not isinstance(first, dict) or (found is not first and by_name(first)):
        return found
    if rows == 1 and by_name(found, lists=True):
        return found
    fields = ", ".join(map(repr, list(answer if isinstance(answer, dict) else first)[:10])) or "none"
    raise UserError(f"the answer has no field {outputs!r}; it has {fields}. {_advice(answer, outputs)}")


def _advice(answer: Any, outputs: str) -> str:
    """Where the scores or labels may be."""
    other = next((kind for kind in KINDS if isinstance(answer, dict) and kind in answer), None)
    if other:
        return f"If the service answers with {other}: outputs={other!r} (--outputs {other})."
    kinds = (str, int) if outputs == "labels" else (int, float)
    places = sorted(places_of(answer, kinds), key=lambda place: not isinstance(find(answer, place), list))[:3]
    if not places:
        return "It holds no " + ("names or numbers." if outputs == "labels" else "numbers.")
    said = " or ".join(f"parse={place!r}" for place in places)
    names = [] if outputs == "labels" else [place for place in places_of(answer, (str,)) if "*" in place][:1]
    labels = "".join(f" For the names alone: outputs='labels', parse={place!r}." for place in names)
    return f"Say where they are: {said} (--answer).{labels}"


def places_of(answer: Any, kinds: tuple[type, ...]) -> list[str]:
    """The places of an answer at which `find` finds values of these kinds, or lists of them."""
    return list(_places(answer, kinds))


def _places(answer: Any, kinds: tuple[type, ...]) -> Iterator[str]:
    if isinstance(answer, list) and answer and isinstance(answer[0], (dict, list)):
        for place in _places(answer[0], kinds):
            yield f"*.{place}" if place else ""
    elif isinstance(answer, dict):
        for name, part in answer.items():
            for place in _places(part, kinds):
                yield f"{name}.{place}".rstrip(".")
    else:
        value = answer[0] if isinstance(answer, list) and answer else answer
        if isinstance(value, kinds) and not isinstance(value, bool):
            yield ""


def by_name(row: Any, lists: bool = False) -> dict[str, float]:
    """Scores by name, where a row says them so, else nothing; with `lists` only those said in a list."""
    if isinstance(row, list) and row and all(isinstance(part, dict) for part in row):
        pairs = [(_of(part, NAME), _of(part, SCORE)) for part in row]
        row = {name: score for name, score in pairs if isinstance(name, str)}
        whole = len(row) == len(pairs)
    else:
        whole = isinstance(row, dict) and not lists
    return row if whole and len(row) > 1 and all(type(score) in (int, float) for score in row.values()) else {}


def _of(part: dict[str, Any], names: tuple[str, ...]) -> Any:
    return next((part[name] for name in names if name in part), None)
