"""Dropout that goes on when the model is used."""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.defenses.insert import ACTIVATIONS, after


class DropoutAtInference(Defense):
    """Sets random values to zero and scales up the others, in training and in evaluation mode alike.

    Dropout is by Srivastava et al., 2014; at test as a defence it is what Dhillon et al., 2018, compare SAP with.
    `around` puts one after each activation. The draws are of torch's global generator, one a value.

    Args:
        p: the probability of each value of being dropped.
    """

    paper: ClassVar[str] = "Dhillon et al., 2018, arXiv 1803.01442"
    random = True

    def __init__(self, p: float = 0.5) -> None:
        super().__init__()
        if not 0 < p < 1:
            raise UserError(f"p is {p:g}; a probability between 0 and 1 is needed.")
        self.p = p

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model with dropout after each activation, sharing its parameters."""
        return after(model, ACTIVATIONS, partial(cls, *options, **named))

    def forward(self, x: Tensor) -> Tensor:
        """X [n, ...] with some values zero."""
        return F.dropout(x, self.p, training=True)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"p={self.p:g}"
