"""Finds, by name, the parts of a module through which no gradient passes, or one that misleads."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import isfinite
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import no_trace
from struthio.attacks.stream import out_of_memory
from struthio.audit.doubts.kinds import Doubt
from struthio.audit.doubts.probe import Probe
from struthio.models import StandIn

ROWS = 4  # what passes through a part is the same kind of thing for all rows


@dataclass(frozen=True)
class Part:
    """A part whose backward pass was compared with its forward pass.

    Attributes:
        name: as in `named_modules()`.
        kept: how much of its true movement the gradient predicts; 1 for a smooth part, 0 where nothing passes.
        before: it is not this part that is meant but what comes before it, in no module of its own.
    """

    name: str
    kept: float
    before: bool = False

    def __str__(self) -> str:
        return f"{'what comes before ' * self.before}{self.name!r}"


def blind_parts(probe: Probe) -> list[Part]:
    """The parts whose gradient predicts less than a tenth, or more than three times, of how they really move.

    Each part is seen twice, for the inputs and for random points of the threat. Between the two its output moves by d;
    the gradient of <output, d> predicts how much of |d|^2 comes from the movement of its input.
    """
    if not isinstance(probe.model, nn.Module):
        return []
    few = probe.few(ROWS)
    parts = dict(leaves(probe.model))
    x, x_moved = few.x, few.threat.apply(few.x, few.nearby(1.0, 400))
    here, there = watch(few, parts, x), watch(few, parts, x_moved)
    found = []
    for name, (seen, answer) in here.items():
        moved, answer_moved = there.get(name, (seen, answer))
        kept = _kept(parts[name], seen, moved, answer, answer_moved)
        found.append(Part(name, 1.0 if kept is None else kept))
    first = next(iter(here), None)
    if first in there:
        kept = _kept(_Until(few, parts[first]), x, x_moved, here[first][0], there[first][0])
        found.append(Part(first, 1.0 if kept is None else kept, before=True))
    return [part for part in found if not 0.1 < part.kept < 3]


class _Until:
    """What a model does to its input before a part sees it, as a function."""

    def __init__(self, probe: Probe, part: nn.Module) -> None:
        self.probe, self.part = probe, part

    def __call__(self, x: Tensor) -> Tensor:
        caught: list[Tensor] = []
        handle = self.part.register_forward_pre_hook(lambda part, inputs: caught.append(inputs[0] * 1))
        try:
            with no_trace(self.probe.generator.fold(0)):
                self.probe.model(x)
        finally:
            handle.remove()
        return caught[0]


def leaves(model: nn.Module, prefix: str = "") -> Iterator[tuple[str, nn.Module]]:
    """Parts without parts, by name; one that has or is a stand-in counts as a whole."""
    for name, part in model.named_children():
        whole = isinstance(part, StandIn) or getattr(part, "stand_in", None) is not None
        if isinstance(part, nn.Softmax):
            continue  # it flattens what it is sure of, which is a doubt of its own: probabilities
        if isinstance(part, torch.jit.ScriptModule):
            continue  # nothing can be hung on it to watch it
        if whole or not any(part.children()):
            yield prefix + name, part
        else:
            yield from leaves(part, f"{prefix}{name}.")


def watch(probe: Probe, parts: dict[str, nn.Module], x: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """What goes into each part and what comes out at its first call, in the order of these calls."""
    seen: dict[str, tuple[Tensor, Tensor]] = {}
    waiting: dict[str, Tensor] = {}

    def before(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...]) -> None:
            if len(inputs) == 1 and isinstance(inputs[0], Tensor) and inputs[0].is_floating_point():
                waiting.setdefault(name, inputs[0].detach().clone())  # a part may work in place

        return hook

    def after(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if name in waiting and isinstance(output, Tensor):
                seen.setdefault(name, (waiting[name], output.detach().clone()))

        return hook

    handles = [part.register_forward_pre_hook(before(name)) for name, part in parts.items()]
    handles += [part.register_forward_hook(after(name)) for name, part in parts.items()]
    try:
        probe.ask(x)
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _kept(
    part: Callable[[Tensor], Tensor], seen: Tensor, moved: Tensor, answer: Tensor, answer_moved: Tensor
) -> float | None:
    """<J (moved - seen), d> / |d|^2 with d how far the answer moved; None where nothing moved, or chance did it."""
    if seen.shape != moved.shape or answer.shape != answer_moved.shape or not answer.is_floating_point():
        return None
    d = answer_moved - answer
    try:
        with torch.enable_grad():
            u = seen.clone().requires_grad_()
            again = part(u * 1)  # times one, since a part that works in place may not touch a leaf of the graph
            # The sum, and no `grad_outputs`, with which torch would first load its symbolic shapes: a second lost.
            slope = torch.autograd.grad((again * d).sum(), u, allow_unused=True)[0] if again.requires_grad else None
    except RuntimeError as error:  # it leaves torch, and refuses what carries a gradient
        if out_of_memory(error):
            raise
        return 0.0
    if slope is None:
        return 0.0
    predicted, real = float((slope * (moved - seen)).sum()), float(d.square().sum())
    if real == 0 or not _alike(again.detach(), answer):
        return None
    return predicted / real if isfinite(predicted) else 0.0


def _alike(again: Tensor, answer: Tensor) -> bool:
    """Whether a part answers alone as it does in the model, which may compute in a coarser format (autocast)."""
    coarse = max((torch.finfo(one.dtype) for one in (again, answer)), key=lambda one: one.eps)
    rounding = max(1e-5, coarse.eps) * float(answer.abs().max())
    return torch.allclose(again.double(), answer.double(), rtol=1e-3, atol=rounding)


def parts(probe: Probe) -> Iterator[Doubt]:
    """The parts without useful gradient, in one doubt."""
    found = blind_parts(probe)
    if found:
        names = ", ".join(f"{part} ({part.kept:.2g})" for part in found[:4])
        yield Doubt(
            "gradient-free-part",
            f"The gradient predicts too little, or far too much, of how these parts move (1 would be exact): {names}.",
            numbers={part.name: part.kept for part in found},
        )
