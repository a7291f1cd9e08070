"""Who has fallen, on the model as it was given: by most of some fresh draws where it is random."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.attacks.base import no_trace
from struthio.rows import RowGenerator, as_generator
from struthio.types import Goal, Model


@torch.no_grad()
def majority(model: Model, x: Tensor, goal: Goal, draws: int = 1, generator: int | RowGenerator = 0) -> Tensor:
    """Rows on which most of some fresh draws of a model reach the goal, bool [n].

    Args:
        model: as given.
        x: inputs [n, ...].
        goal: what counts as success.
        draws: how often each row is asked about; 1 for a model that is not random.
        generator: a seed, or the rows' random numbers; use others than the attack had.
    """
    with no_trace(as_generator(generator, x)):
        votes = torch.stack([goal.success(model(x)) for _ in range(draws)])
    return 2 * votes.sum(0) > draws
