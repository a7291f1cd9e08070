"""By what a model and a data set are known again, so that work on others is not mixed in."""

from __future__ import annotations

import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from struthio.data import Samples
from struthio.types import Model

ROWS = 8  # of the data, whose values are looked at
PLAIN = (str, bytes, int, float, type(None), torch.dtype)  # whose text says all


def of_model(model: Model) -> str:
    """A digest of the structure and of all parameters and buffers; it says nothing of the code."""
    if not isinstance(model, nn.Module):
        return "not an nn.Module"
    digest = hashlib.sha256(str(model).encode())
    for name, value in model.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes(value))
    return digest.hexdigest()[:16]


def of_data(data: Samples, rows: int) -> str:
    """A digest of the first eight inputs and of the labels of so many rows."""
    _, x, _ = next(data.batches(ROWS, 0, min(ROWS, rows)))
    digest = hashlib.sha256(_bytes(x))
    if data.y is not None:
        digest.update(_bytes(data.y[:rows]))
    return digest.hexdigest()[:16]


def _bytes(value: Any) -> bytes:
    """What a tensor of any type holds, bfloat16 too, which NumPy does not know; of what else a state may hold (a
    quantised layer's is a tuple, with its dtype), the parts or the text.
    """
    if isinstance(value, (tuple, list)):
        return b"".join(_bytes(part) for part in value)
    if not isinstance(value, Tensor):
        return repr(value).encode() if isinstance(value, PLAIN) else type(value).__name__.encode()
    values = value.detach().dequantize() if value.is_quantized else value.detach()
    return values.cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes()
