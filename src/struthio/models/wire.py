"""What is said to a service and what is heard: inputs as JSON, and the place of the scores or labels in an answer."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field as option
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from struthio.checks import UserError, near_misses, one_of

Values = npt.NDArray[Any]
COMMON = ("predictions", "outputs", "results", "data")


@dataclass(frozen=True)
class Request:
    """How inputs in [0, 1] become one JSON value.

    `Request()` makes `{"inputs": [[...], ...]}`. For TensorFlow Serving: `Request("instances",
    layout="channels-last")`; for one picture a question: `Request("image", encoding="png", alone=True)` and a batch
    of 1.

    Args:
        field: where the inputs go; dots lead into objects within, `data.ndarray`; empty for the inputs alone.
        encoding: "floats" as they are; "bytes", whole numbers from 0 to 255; "png", a picture of them in base64. The
            latter two refuse what lies between the 256 levels, which they could not say: attack with Levels(threat).
        layout: "channels-first" as inputs are; "channels-last" moves the channels behind height and width.
        each: the name of a field that is put around each input, such as `b64`; None for none.
        alone: the one input itself, not a list of one.
        prefix: what stands before base64, such as `data:image/png;base64,`.
        more: other fields of the object, such as `{"model": "v2"}`.
    """

    field: str = "inputs"
    encoding: str = "floats"
    layout: str = "channels-first"
    each: str | None = None
    alone: bool = False
    prefix: str = ""
    more: Mapping[str, Any] = option(default_factory=dict)

    def __post_init__(self) -> None:
        one_of(self.encoding, ("floats", "bytes", "png"), "encoding")
        one_of(self.layout, ("channels-first", "channels-last"), "layout")

    def values(self, x: Tensor) -> Values:
        """The inputs [n, ...] as they will be said: what is equal here is the same question."""
        values: Values = x.detach().cpu().numpy()
        if self.encoding != "floats":
            values = _levels(values)
        if self.layout == "channels-last" or self.encoding == "png":
            if values.ndim != 4:
                raise UserError(f"inputs have shape {values.shape}; pictures [n, channels, height, width] are needed.")
            values = np.moveaxis(values, 1, -1)
        return np.ascontiguousarray(values)

    def __call__(self, values: Values) -> Any:
        """The JSON value for some rows of `values`."""
        said: list[Any] = [self._png(row) for row in values] if self.encoding == "png" else values.tolist()
        if self.each is not None:
            said = [{self.each: row} for row in said]
        inputs: Any = said
        if self.alone:
            if len(said) != 1:
                raise UserError(f"{len(said)} inputs do not fit a request for one alone; set batch=1.")
            inputs = said[0]
        for name in reversed(self.field.split(".") if self.field else []):
            inputs = {name: inputs}
        return _merged(dict(self.more), inputs) if self.more else inputs

    def _png(self, picture: Values) -> str:
        from PIL import Image

        kept = io.BytesIO()
        Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture).save(kept, "PNG")
        return self.prefix + base64.b64encode(kept.getvalue()).decode()


def _levels(values: Values) -> npt.NDArray[np.uint8]:
    places = values.astype(np.float64) * 255
    whole = places.round()
    if len(places) and (np.abs(places - whole).max() > 1e-3 or whole.min() < 0 or whole.max() > 255):
        raise UserError(
            "the service is sent 8-bit values, and some inputs lie between the 256 levels of [0, 1]: what it sees "
            "would not be what is attacked. Attack with Levels(threat), --levels on the command line."
        )
    return whole.astype(np.uint8)


def _merged(outer: dict[str, Any], inner: Any) -> dict[str, Any]:
    if not isinstance(inner, dict):
        raise UserError("a request with other fields (more) needs a field for the inputs.")
    for name, value in inner.items():
        held = outer.get(name)
        outer[name] = _merged(dict(held), value) if isinstance(held, Mapping) and isinstance(value, dict) else value
    return outer


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


def usual(answer: Any, outputs: str) -> Any:
    """The scores or labels where services usually put them: the answer itself, or a field of that or a common name.

    Raises UserError where they are deeper within, with the places where there are numbers.
    """
    found = answer
    if isinstance(answer, dict):
        found = next((answer[name] for name in (outputs, *COMMON) if name in answer), answer)
    first = found[0] if isinstance(found, list) and found else found
    if not isinstance(first, dict):
        return found
    fields = ", ".join(map(repr, list(answer if isinstance(answer, dict) else first)[:10])) or "none"
    places = [f"parse={place!r}" for place in numbers_at(answer)[:3]]
    there = f"Say where its numbers are: {' or '.join(places)} (--answer)." if places else "It holds no numbers."
    raise UserError(f"the answer has no field {outputs!r}; it has {fields}. {there}")


def numbers_at(answer: Any) -> list[str]:
    """The places of an answer at which `find` finds numbers."""
    if isinstance(answer, list) and answer and isinstance(answer[0], (dict, list)):
        within = numbers_at(answer[0])
        return [f"*.{place}" if place else "" for place in within]
    if isinstance(answer, dict):
        return [f"{name}.{place}".rstrip(".") for name, part in answer.items() for place in numbers_at(part)]
    number = answer[0] if isinstance(answer, list) and answer else answer
    return [""] if isinstance(number, (int, float)) and not isinstance(number, bool) else []


def as_numbers(value: Any, rows: int) -> Values:
    """Numbers [rows, ...] from a JSON value. Raises UserError for anything else."""
    try:
        numbers: Values = np.asarray(value)
    except ValueError as error:
        raise UserError("the answer holds lists of unequal length; one row of numbers an input is needed.") from error
    if numbers.dtype.kind not in "iuf":
        raise UserError(f"the answer holds {_short(value)} where numbers are needed.")
    if rows == 1 and (numbers.ndim == 0 or (numbers.ndim == 1 and len(numbers) != 1)):
        numbers = numbers[None]  # for a single input its row alone
    if numbers.ndim == 0 or len(numbers) != rows:
        raise UserError(f"the answer holds numbers of shape {numbers.shape} for {rows} inputs.")
    if not np.isfinite(numbers).all() or np.abs(numbers).max(initial=0) > np.finfo(np.float32).max:
        raise UserError("the answer holds NaN, infinity, or a number beyond 3e38.")
    return numbers


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
