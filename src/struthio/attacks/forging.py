"""Forge an input that a model takes for a chosen class: from noise, from a grey field, or close to a given picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.attacks.base import no_trace
from struthio.attacks.minimal.adam import adam, memory
from struthio.attacks.task import narrow, remaining
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator, as_generator, norm
from struthio.threats.box import PIXELS, Box
from struthio.types import Model

Objective = Callable[[Tensor, Tensor], Tensor]  # logits [n, classes] and one-hot targets to what is made small, [n]
OBJECTIVES: dict[str, Objective] = {
    "l2": lambda outputs, wanted: (outputs.softmax(1) - wanted).square().sum(1),
    "l1": lambda outputs, wanted: (outputs.softmax(1) - wanted).abs().sum(1),
    "cross-entropy": lambda outputs, wanted: -(outputs.log_softmax(1) * wanted).sum(1),
}


@dataclass(frozen=True)
class Forged:
    """What was forged, one entry a row.

    Attributes:
        x: the inputs found [n, ...], the first that reached the confidence, else the most confident on the way.
        start: where each row began [n, ...]: the noise, the grey field, or the given picture.
        success: whether the confidence was reached, bool [n].
        confidence: the probability of the target at x, [n].
        steps: how many steps led to x, int64 [n].
        forwards: how often the model was asked about each row, int64 [n].
        backwards: how often a gradient was taken for each row, int64 [n].
    """

    x: Tensor
    start: Tensor
    success: Tensor
    confidence: Tensor
    steps: Tensor
    forwards: Tensor
    backwards: Tensor

    def distance(self, p: float) -> Tensor:
        """The p-norm of x less its start, [n]: with a picture given, how far the forgery is from it."""
        return norm(self.x - self.start, p)


def forge(
    model: Model,
    target: int | Tensor,
    start: str | Tensor = "noise",
    *,
    shape: tuple[int, ...] | None = None,
    objective: str = "l2",
    closeness: float = 0.0,
    steps: int = 1000,
    lr: float = 0.01,
    confidence: float = 0.9,
    box: Box = PIXELS,
    generator: int | RowGenerator | torch.Generator = 0,
) -> Forged:
    """Inputs that the model calls `target`, made by Adam on what the model answers and on nothing else.

    From noise this is a lecture's "non-targeted" forgery (CS 230, Stanford, after Nguyen, Yosinski, Clune, 2015, arXiv
    1412.1897); from a picture with `closeness` above 0 it is the "targeted" one. Both name the class, so both are
    targeted in the sense of the literature; what differs is whether the input has to stay like something.

    Args:
        model: from a batch to logits [n, classes], in evaluation mode, with its normalisation inside.
        target: the wanted class, or one a row, int64 [n].
        start: "noise" (uniform between the limits), "grey" (their middle), or a picture [...] or pictures [n, ...].
        shape: of one input, where start is a word; None takes the model's `input_size`.
        objective: what is made small: "l2", the squared distance of the probabilities from the one-hot target; "l1",
            their absolute distance, which is 2 (1 - p(target)) and leads there straight, where the squared one first
            flattens what else is likely; "cross-entropy", -log p(target), whose slope does not vanish where the model
            is certain of another class.
        closeness: lambda, the weight of the squared L2 distance from `start` that is added to the objective.
        steps: the most steps a row takes; it stops when p(target) is above `confidence`.
        lr: the learning rate of Adam, about how far every value moves in a step.
        confidence: the probability of the target that is wanted, above 0 and at most 1.
        box: the limits of the input, which every step is clipped to.
        generator: a seed, a RowGenerator with the rows' ids, or a torch.Generator, for the noise.

    Raises:
        UserError: where an argument cannot be meant, or a target is no class of the model.
    """
    _check(objective, closeness, steps, lr, confidence)
    checks.mode(getattr(model, "original", model))
    targets = torch.atleast_1d(torch.as_tensor(target))
    x, rng = _begin(model, start, shape, targets, box, generator)
    targets = targets.to(x.device).expand(len(x)).contiguous()
    checks.classes(targets, len(x), "targets")
    with no_trace(rng):
        meter = Metered(model, len(x), device=x.device, first=lambda outputs: _known(outputs, targets))
        return _descend(meter, x, targets, OBJECTIVES[objective], closeness, steps, lr, confidence, box)


def _descend(
    meter: Metered,
    start: Tensor,
    targets: Tensor,
    objective: Objective,
    closeness: float,
    steps: int,
    lr: float,
    confidence: float,
    box: Box,
) -> Forged:
    best, sure = start.clone(), torch.full((len(start),), -1.0, dtype=start.dtype, device=start.device)
    taken, rows = torch.zeros_like(meter.forwards), torch.arange(len(start), device=start.device)
    state = {"x": start, "start": start, "target": targets, **memory(start)}
    for step in range(steps + 1):
        with torch.enable_grad():
            x = state["x"].detach().requires_grad_()
            outputs = meter[rows](x)
            if not outputs.requires_grad:
                raise UserError("the model passes no gradient; forging follows one. Take a model of torch operations.")
            wanted = F.one_hot(state["target"], outputs.shape[1]).to(outputs.dtype)
            loss = objective(outputs, wanted) + closeness * (x - state["start"]).flatten(1).square().sum(1)
        probability = outputs.detach().softmax(1).gather(1, state["target"][:, None]).squeeze(1).to(sure.dtype)
        better = (probability > sure[rows]).nonzero().flatten()
        best[rows[better]], sure[rows[better]] = state["x"][better], probability[better]
        taken[rows[better]] = step
        stay = remaining(probability > confidence)
        if step == steps:
            break
        slope = torch.autograd.grad(loss.sum(), x)[0][stay]
        if not len(stay):
            break
        rows, state = rows[stay], narrow(state, stay)
        way, _, state = adam(slope, state, step)
        state["x"] = box.clip(state["x"] - lr * way)
    return Forged(best, start, sure > confidence, sure, taken, meter.forwards, meter.backwards)


def _begin(
    model: Model,
    start: str | Tensor,
    shape: tuple[int, ...] | None,
    targets: Tensor,
    box: Box,
    generator: int | RowGenerator | torch.Generator,
) -> tuple[Tensor, RowGenerator]:
    """Where the rows begin, and their random numbers."""
    if isinstance(start, Tensor):
        one = len(shape or getattr(model, "input_size", None) or ()) or start.ndim - 1
        x = start.detach() if start.ndim > one else start.detach()[None]
        if 1 not in (len(x), len(targets)) and len(x) != len(targets):
            raise UserError(f"{len(targets)} targets for {len(x)} pictures; one target, or one a picture, is needed.")
        x = x.expand(max(len(x), len(targets)), *x.shape[1:]).clone()
        checks.inputs(x, box.low, box.high, "forge")
        return x, as_generator(generator, x)
    checks.one_of(start, ("noise", "grey"), "start")
    shape = shape or getattr(model, "input_size", None)
    if shape is None:
        raise UserError(
            "the model does not say what inputs it takes; name their shape: shape=(channels, height, width)."
        )
    device = next((part.device for part in getattr(model, "parameters", lambda: iter(()))()), torch.device("cpu"))
    rows = torch.empty(len(targets), *shape, device=device)
    rng = as_generator(generator, rows)
    share = rng.uniform(tuple(shape)) if start == "noise" else torch.full_like(rows, 0.5)
    low, high = (torch.as_tensor(limit, device=device) for limit in (box.low, box.high))
    return low + share * (high - low), rng


def _check(objective: str, closeness: float, steps: int, lr: float, confidence: float) -> None:
    checks.one_of(objective, tuple(OBJECTIVES), "objective")
    checks.not_negative(closeness, "closeness")
    checks.count(steps, "steps")
    checks.positive(lr, "lr")
    checks.share(confidence, "confidence")


def _known(outputs: Tensor, targets: Tensor) -> None:
    if int(targets.min()) < 0 or int(targets.max()) >= outputs.shape[1]:
        raise UserError(
            f"targets run from {int(targets.min())} to {int(targets.max())}, but the model knows classes 0 to "
            f"{outputs.shape[1] - 1}."
        )
