"""A model that takes its inputs in half precision, asked in single."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from struthio.rows import per_row
from struthio.types import Model

HALVES = (torch.float16, torch.bfloat16)


class AskedInSingle(nn.Module):
    """Rounds its inputs to half precision by itself, so that who asks need not, and answers in single.

    In half precision a change rounds to one that is longer than allowed, by up to half a pixel's level in bfloat16. An
    attack therefore searches in single precision, and the rounding is the model's. The slope of a sure row is too small
    for float16: on its way back through the model it has the length 1 at the scores, row by row.

    Args:
        model: any callable from a batch in half precision to class scores.
        dtype: torch.float16 or torch.bfloat16.
    """

    def __init__(self, model: Model, dtype: torch.dtype) -> None:
        super().__init__()
        self.model, self.dtype = model, dtype
        self.training = getattr(model, "training", False)  # the parts of the model stay in their own modes

    def forward(self, x: Tensor) -> Tensor:
        """Class scores [n, classes] in single precision, of x [n, ...] in any."""
        within = x.view_as(x)
        out = self.model(within.to(self.dtype)).float()
        if out.requires_grad:
            _at_length_one(within, out)
        return out


def _at_length_one(x: Tensor, out: Tensor) -> None:
    """Let the gradient that reaches the outputs have length 1 in each row, and its own again at the input."""
    lengths: list[Tensor] = []

    def shorten(grad: Tensor) -> Tensor:
        length = grad.norm(dim=1, keepdim=True)
        lengths.append(torch.where(length > 0, length, 1))
        return grad / lengths[-1]

    def lengthen(grad: Tensor) -> Tensor:
        return grad * per_row(lengths.pop().flatten(), grad) if lengths else grad  # one that began further in

    out.register_hook(shorten)
    if x.requires_grad:
        x.register_hook(lengthen)
