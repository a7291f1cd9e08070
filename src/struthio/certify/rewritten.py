"""Operations written in terms of others that have bounds, while a model is traced; `NotImplemented` leaves them alone.

The rewriting is exact, and lines through a sum of a value and its ReLU are those of the bend itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from struthio.certify.operations import aten

FAR = 1e30  # stands for infinity where a pooled picture is padded: a sum with a true infinity would be NaN


def pool_as_greatest(
    x: Tensor,
    kernel: list[int],
    stride: list[int] | None = None,
    padding: list[int] | int = 0,
    dilation: list[int] | int = 1,
    ceil_mode: bool = False,
) -> tuple[Tensor, Tensor]:
    """Max-pooling as the greatest value of each window; nothing reads the places that it would give."""
    sides, pads = _pair(kernel), _pair(padding)
    steps = _pair(stride) if stride else sides
    if _pair(dilation) != (1, 1):
        return NotImplemented  # type: ignore[no-any-return]
    more = [0, 0]
    for axis in range(2):
        size = x.shape[axis - 2] + 2 * pads[axis] - sides[axis]
        count = math.ceil(size / steps[axis]) if ceil_mode else size // steps[axis]
        if ceil_mode and count * steps[axis] >= x.shape[axis - 2] + pads[axis]:
            count -= 1  # the last window must begin in the picture, or in the padding before it
        more[axis] = max(0, count * steps[axis] - size)
    around = (pads[1], pads[1] + more[1], pads[0], pads[0] + more[0])
    wide = F.pad(x, around, value=-FAR) if any(around) else x
    high, broad = ((side - size) // step + 1 for side, size, step in zip(wide.shape[-2:], sides, steps, strict=True))
    windows = F.unfold(wide, sides, stride=steps).unflatten(1, (x.shape[1], -1)).transpose(2, 3)
    out: Tensor = windows.amax(-1).unflatten(2, (high, broad))
    return out, x.new_zeros(())


def _pair(value: list[int] | int) -> tuple[int, int]:
    both = [value] if isinstance(value, int) else list(value)
    return both[0], both[-1]


def padding_within_reach(x: Tensor, pad: list[int], value: float = 0.0) -> Tensor:
    """Padding with infinity, as before a pooling, as padding with a large number."""
    if math.isfinite(value):
        return NotImplemented  # type: ignore[no-any-return]
    return F.pad(x, pad, value=math.copysign(FAR, value))


def leaky_relu(x: Tensor, slope: float = 0.01) -> Tensor:
    """A LeakyReLU whose slope is not between 0 and 1, which is no maximum of two lines, or does not rise."""
    if 0 <= slope <= 1:
        return NotImplemented  # type: ignore[no-any-return]
    return slope * x + (1 - slope) * x.relu()


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """PReLU, with a slope for each channel."""
    return slope * x + (1 - slope) * x.relu()


def maximum(a: Tensor, b: Tensor) -> Tensor:
    """The larger of two values, each in its place."""
    return b + (a - b).relu()


def minimum(a: Tensor, b: Tensor) -> Tensor:
    """The smaller of two."""
    return b - (b - a).relu()


def glu(x: Tensor, dim: int = -1) -> Tensor:
    """One half, weighed by a sigmoid of the other."""
    half = x.shape[dim] // 2
    return x.narrow(dim, 0, half) * x.narrow(dim, half, half).sigmoid()


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """An ELU whose slope does not jump; with a negative alpha it grows exponentially, and has no bounds."""
    if alpha < 0:
        return NotImplemented  # type: ignore[no-any-return]
    out: Tensor = aten.elu(x, alpha, 1, 1 / alpha)
    return out


def log_sigmoid(x: Tensor) -> tuple[Tensor, Tensor]:
    """A softplus turned round; nothing reads the second."""
    return -F.softplus(-x), x.new_zeros(())


def scaled_addmm(bias: Tensor, a: Tensor, b: Tensor, *, beta: float = 1, alpha: float = 1) -> Tensor:
    """A linear layer with factors, so that those who read its matrix need not know of them."""
    if alpha == beta == 1:
        return NotImplemented  # type: ignore[no-any-return]
    return beta * bias + alpha * (a @ b)


REWRITTEN: dict[Any, Callable[..., Any]] = {
    aten.max_pool2d_with_indices.default: pool_as_greatest,
    aten.constant_pad_nd.default: padding_within_reach,
    aten.leaky_relu.default: leaky_relu,
    aten._prelu_kernel.default: prelu,
    aten.maximum.default: maximum,
    aten.minimum.default: minimum,
    aten.glu.default: glu,
    aten.celu.default: celu,
    aten.log_sigmoid_forward.default: log_sigmoid,
    aten.addmm.default: scaled_addmm,
}
