"""What is said to a service: inputs as JSON."""

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

from struthio.checks import UserError, one_of

Values = npt.NDArray[Any]


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
                raise UserError(
                    f"{len(said)} inputs do not fit a request for one alone; set batch=1 (--request-size 1)."
                )
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
