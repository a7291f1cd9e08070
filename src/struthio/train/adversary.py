"""What an attack makes of a batch in the middle of training: no judge and no copy, since nothing is claimed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from struthio.attacks.base import Attack, no_trace
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Model, Threat


def adversary(
    model: Model,
    x: Tensor,
    goal: Goal,
    threat: Threat,
    attack: Attack,
    generator: RowGenerator,
    training: bool = False,
) -> Tensor:
    """The adversarial inputs [n, ...], without gradient; the model's mode and torch's random numbers stay as they were.

    Args:
        model: what is being trained, or another that was.
        x: the inputs [n, ...].
        goal: what counts as success.
        threat: what may change, and by how much.
        attack: how it is searched; with `keep="last"` it costs its own steps and nothing else.
        generator: the rows' random numbers.
        training: attack in training mode (statistics of the batch, dropout) in place of evaluation mode. The running
            statistics of batch-norm then move with every step, as in much published code.
    """
    with mode(model, training), no_trace(generator):
        return attack.search(Metered(model, len(x), device=x.device), x.detach(), goal, threat, generator).detach()


@contextmanager
def mode(model: Model, training: bool) -> Iterator[None]:
    """Every part in this mode for a while; then each as it was."""
    parts = list(model.modules()) if isinstance(model, nn.Module) else []
    were = {part: part.training for part in parts}
    try:
        if isinstance(model, nn.Module):
            model.train(training)
        yield
    finally:
        for part, was in were.items():
            part.training = was
