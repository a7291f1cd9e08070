"""Weights averaged along the way: a running mean over steps (EMA), or the mean of late epochs (SWA)."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from struthio.put_back import in_mode


class Average(nn.Module):
    """A second copy of what is trained, which moves towards it.

    Parameters and buffers of floating point are averaged, others copied. EMA as in B. Polyak and A. Juditsky, 1992
    (in adversarial training: S. Gowal and others, 2020, arXiv 2010.03593); SWA as in P. Izmailov and others, 2018,
    arXiv 1803.05407, after which statistics of batch-norm are to be taken anew: `fresh_statistics`.

    Args:
        trained: copied as it is.
    """

    count: torch.Tensor

    def __init__(self, trained: nn.Module) -> None:
        super().__init__()
        self.model = copy.deepcopy(trained)
        self.register_buffer("count", torch.tensor(0))

    def ema(self, trained: nn.Module, decay: float) -> None:
        """Keep `decay` of what is here; early on less, (1 + n) / (10 + n) before the n-th time."""
        n = int(self.count)
        self._toward(trained, 1 - min(decay, (1 + n) / (10 + n)))

    def swa(self, trained: nn.Module) -> None:
        """The plain mean of all that came so far; the first replaces what is here."""
        self._toward(trained, 1 / (1 + int(self.count)))

    @torch.no_grad()
    def _toward(self, trained: nn.Module, share: float) -> None:
        self.count += 1
        theirs = trained.state_dict()
        for name, mine in self.model.state_dict().items():
            if mine.is_floating_point():
                mine.lerp_(theirs[name], share)
            else:
                mine.copy_(theirs[name])


@contextmanager
def fresh_statistics(model: nn.Module) -> Iterator[bool]:
    """Within, forwards in training mode gather the statistics of batch-norm as a plain mean over batches.

    Until the first forward the old statistics stand, so that an attack in evaluation mode has something to go by. Gives
    whether there is any batch-norm; mode and momentum are put back afterwards.
    """
    parts = [part for part in model.modules() if isinstance(part, _BatchNorm) and part.track_running_stats]
    were = [part.momentum for part in parts]
    try:
        for part in parts:
            part.momentum = None
            if part.num_batches_tracked is not None:
                part.num_batches_tracked.zero_()
        with in_mode(model, training=True):
            yield bool(parts)
    finally:
        for part, was in zip(parts, were, strict=True):
            part.momentum = was
