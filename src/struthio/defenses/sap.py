"""Stochastic activation pruning, SAP: random activations are dropped, small ones the more likely."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense
from struthio.defenses.insert import ACTIVATIONS, after


class SAP(Defense):
    """Keeps the activations that are drawn with a probability as their size, and scales them so that the mean stays.

    Dhillon et al., 2018, arXiv 1803.01442: with p_i = |a_i| / sum |a| over the whole layer of a row, r draws with
    replacement keep those that come up at least once, divided by 1 - (1 - p_i)^r. Athalye, Carlini, Wagner, 2018,
    arXiv 1802.00420, attack a form that keeps each value by itself, with probability 1 - exp(-r p_i). It is put into a
    trained network, without training; `around` puts one after each activation.

    Args:
        samples: r, in units of the number of values in the layer. Dhillon et al. try 1 among others ("SAP-100"), the
            code of Athalye et al. takes 2.
        form: "draws" with replacement, or "independent".
    """

    paper: ClassVar[str] = "Dhillon et al., 2018, arXiv 1803.01442"
    random = True

    def __init__(self, samples: float = 1.0, form: str = "draws") -> None:
        super().__init__()
        checks.positive(samples, "samples")
        checks.one_of(form, ("draws", "independent"), "form")
        self.samples, self.form = samples, form

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model with one after each activation, sharing its parameters."""
        return after(model, ACTIVATIONS, partial(cls, *options, **named))

    def forward(self, a: Tensor) -> Tensor:
        """The activations [n, ...], some of them zero."""
        flat = a.flatten(1)
        size = flat.abs()
        p = size / size.sum(1, keepdim=True).clamp(min=torch.finfo(a.dtype).tiny)
        r = max(1, round(self.samples * flat.shape[1]))
        if self.form == "draws":
            kept = _drawn(p.detach(), r)
            chance = -torch.expm1(r * torch.log1p(-p.clamp(max=1 - 1e-6)))
        else:
            chance = -torch.expm1(-r * p)
            kept = torch.rand_like(p) < chance
        kept &= size > 0
        return torch.where(kept, flat / torch.where(kept, chance, 1.0), 0.0).reshape(a.shape)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"samples={self.samples:g}, form={self.form!r}"


def _drawn(p: Tensor, r: int) -> Tensor:
    """Which values come up in r draws with replacement, bool [n, d]; a row of zeros draws from all alike."""
    weights = torch.where(p.sum(1, keepdim=True) > 0, p, 1.0)
    drawn = torch.multinomial(weights, r, replacement=True)
    return torch.zeros_like(p, dtype=torch.bool).scatter_(1, drawn, True)
