"""What an attack makes of a batch in the middle of training: no judge and no copy, since nothing is claimed."""

from __future__ import annotations

from torch import Tensor

from struthio.attacks.base import Attack, no_trace
from struthio.meter import Metered
from struthio.put_back import in_mode
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
    with in_mode(model, training), no_trace(generator):
        return attack.search(Metered(model, len(x), device=x.device), x.detach(), goal, threat, generator).detach()
