"""Tells what half precision rounds away from what a model does: the same program, computed in single precision."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from struthio.attacks.stream import out_of_memory
from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.probe import Probe, apart
from struthio.models.single import HALVES

LOWERING = (Tensor.half, Tensor.bfloat16)
ROUNDED = {  # what rounding to half precision can look like
    "random-outputs", "batch-dependent", "unstable-answers", "shattered-gradient", "random-direction",
    "gradient-free-part",
}  # fmt: skip
ROWS = 8
ALIKE = 0.03  # of the spread of a row's scores; bfloat16 moves 0.002 to 0.01 of it

Test = Callable[[Probe], Iterator[Doubt]]


class InSingle(TorchFunctionMode):
    """Every operation of torch in single precision, whatever its inputs are in or are to be turned into.

    Parameters, constants and inputs in half precision are widened on the way into each operation, what would round
    them is left out, and autocast is off. In-place changes of a tensor in half precision are lost.

    Attributes:
        met: the formats that were widened.
    """

    def __init__(self) -> None:
        super().__init__()
        self.met: set[torch.dtype] = set()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = self._widened(args), self._widened(dict(kwargs or {}))
        if func in LOWERING:
            self.met.add(HALVES[LOWERING.index(func)])
            func = Tensor.float
        kind = next((value.device.type for value in args if isinstance(value, Tensor)), "cpu")
        if not torch.is_autocast_enabled(kind):
            return func(*args, **kwargs)
        self.met.add(torch.get_autocast_dtype(kind))
        with torch.autocast(kind, enabled=False):
            return func(*args, **kwargs)

    def _widened(self, value: Any) -> Any:
        """A tensor or a format as it is, or in single precision; the same within tuples, lists and dicts."""
        if isinstance(value, Tensor) and value.dtype in HALVES:
            self.met.add(value.dtype)
            return value.float()
        if isinstance(value, torch.dtype) and value in HALVES:
            self.met.add(value)
            return torch.float32
        if type(value) in (tuple, list):
            return type(value)(self._widened(one) for one in value)
        if type(value) is dict:
            return {name: self._widened(one) for name, one in value.items()}
        return value


def beyond_rounding(test: Test, probe: Probe) -> tuple[Doubt, ...]:
    """The doubts of a test; of a model in half precision, those of `ROUNDED` alone that single precision raises too.

    A step of a twentieth of the radius may move the scores by less than half precision can tell. Where both formats
    answer alike, rounding is all that they differ in; where they do not, it is part of what the model does, and every
    doubt about it stands.

    Args:
        test: gives the doubts about what is asked.
        probe: what is asked.
    """
    found = tuple(test(probe))
    if not any(doubt.name in ROUNDED for doubt in found) or not _rounds_only(probe):
        return found
    with InSingle():
        again = {doubt.name for doubt in test(replace(probe))}  # anew, since a probe remembers answers
    return tuple(doubt for doubt in found if doubt.name not in ROUNDED or doubt.name in again)


def _rounds_only(probe: Probe) -> bool:
    """Whether a model computes in half precision, and answers its inputs, and noise around them, alike in single."""
    few = probe.few(ROWS)
    points = few.x, few.threat.apply(few.x, few.nearby(1.0, 350))
    try:
        with InSingle() as mode:
            single = [few.ask(x) for x in points]
    except Exception as error:  # compiled code may insist on its formats
        if out_of_memory(error):
            raise
        return False
    if not mode.met:
        return False
    return all(
        float(apart(few.ask(x).float(), answers).median()) < ALIKE for x, answers in zip(points, single, strict=True)
    )
