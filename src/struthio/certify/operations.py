"""What is known of each operation of a network: whether it is affine, and how a nonlinear one is enclosed by lines."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from struthio.certify import smooth
from struthio.certify.lines import Relaxation
from struthio.certify.relax import Clamp, Greatest, Leaky

aten = torch.ops.aten


def _same(x: Tensor, *_: Any, **__: Any) -> Tensor:
    return x


def _plus(a: Any, b: Any, alpha: float = 1) -> Any:
    return a + alpha * b


def _plus_turned(a: Any, b: Any, alpha: float = 1) -> Any:
    return b + alpha * a


# From each affine operation to the one that moves the radii of intervals, when it is called with the absolute values of
# all constants. Copies are left out, and a view is a reshape, which needs no memory layout.
AFFINE: dict[Any, Callable[..., Any]] = {
    op: op
    for op in (
        aten.convolution.default, aten.mm.default, aten.addmm.default, aten.bmm.default, aten.mul.Tensor,
        aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.add.Scalar, aten.add.Tensor, aten.permute.default,
        aten.transpose.int, aten.t.default, aten.squeeze.dim, aten.squeeze.dims, aten.squeeze.default,
        aten.unsqueeze.default, aten.expand.default, aten.slice.Tensor, aten.select.int, aten.cat.default,
        aten.stack.default, aten.index_select.default, aten.im2col.default, aten.flip.default, aten.mean.dim,
        aten.mean.default, aten.sum.dim_IntList, aten.sum.default, aten.avg_pool2d.default,
        aten._adaptive_avg_pool2d.default, aten.constant_pad_nd.default, aten.upsample_nearest2d.default,
        aten.upsample_nearest2d.vec, aten.upsample_bilinear2d.default, aten.upsample_bilinear2d.vec, aten.roll.default,
        aten.index.Tensor, aten.reflection_pad2d.default, aten.replication_pad2d.default,
    )
}  # fmt: skip
AFFINE |= {
    aten.sub.Tensor: _plus,
    aten.rsub.Scalar: _plus_turned,
    aten.sub.Scalar: _plus,
    aten.neg.default: _same,
}
AFFINE |= {op: op for op in (torch.reshape, _same)}
RENAMED: dict[Any, Callable[..., Any]] = {
    aten.view.default: torch.reshape,
    aten._unsafe_view.default: torch.reshape,
    aten.reshape.default: torch.reshape,
    **dict.fromkeys(
        (aten.clone.default, aten.alias.default, aten.detach.default, aten._to_copy.default, aten.contiguous.default),
        _same,
    ),
}
SHAPES = (  # operations to which the input gives a shape alone
    aten.zeros_like.default, aten.ones_like.default, aten.full_like.default, aten.new_zeros.default,
    aten.new_ones.default, aten.new_full.default,
)  # fmt: skip
SCALES = (  # operations whose whole numbers are factors too, or at least not negative
    aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.avg_pool2d.default,
)  # fmt: skip
PRODUCTS = {  # of which at most one part may depend on the input: the positions of these parts
    aten.convolution.default: (0, 1), aten.mm.default: (0, 1), aten.addmm.default: (1, 2), aten.bmm.default: (0, 1),
    aten.mul.Tensor: (0, 1),
}  # fmt: skip
MIXES = (  # operations in which an output sums several inputs
    aten.convolution.default, aten.mm.default, aten.addmm.default, aten.bmm.default, aten.mean.dim, aten.mean.default,
    aten.sum.dim_IntList, aten.sum.default, aten.avg_pool2d.default, aten._adaptive_avg_pool2d.default,
)  # fmt: skip
ELEMENTWISE = (  # operations that keep every value in its place
    aten.mul.Tensor, aten.mul.Scalar, aten.div.Tensor, aten.div.Scalar, aten.add.Tensor, aten.add.Scalar,
    aten.sub.Tensor, aten.sub.Scalar, aten.rsub.Scalar, aten.neg.default, _same,
)  # fmt: skip

NONLINEAR: dict[Any, Callable[..., Relaxation]] = {
    aten.relu.default: lambda: Clamp(0.0, math.inf),
    aten.leaky_relu.default: lambda slope=0.01: Leaky(slope),
    aten.hardtanh.default: lambda low=-1.0, high=1.0: _clamp(low, high),
    aten.clamp.default: lambda low=None, high=None, **named: _clamp(named.get("min", low), named.get("max", high)),
    aten.clamp_min.default: lambda low: _clamp(low, None),
    aten.clamp_max.default: lambda high: _clamp(None, high),
    aten.sigmoid.default: lambda: smooth.SIGMOID,
    aten.tanh.default: lambda: smooth.TANH,
    aten.silu.default: lambda: smooth.SILU,
    aten.mish.default: lambda: smooth.MISH,
    aten.hardswish.default: lambda: smooth.HARDSWISH,
    aten.hardsigmoid.default: lambda: smooth.HARDSIGMOID,
    aten.gelu.default: smooth.gelu,
    aten.elu.default: smooth.elu,
    aten.softplus.default: smooth.softplus,
    aten.amax.default: lambda dims=(-1,), keep=False: Greatest(dims[0], keep),
}


def _clamp(low: float | None, high: float | None) -> Clamp:
    ceiling = math.inf if high is None else float(high)
    return Clamp(-math.inf if low is None else min(float(low), ceiling), ceiling)


def absolute(op: Any, args: Any) -> Any:
    """The arguments of a call with every factor replaced by its absolute value."""
    whole = op in SCALES
    if isinstance(args, Tensor):
        return args.abs() if args.is_floating_point() or (whole and args.dtype != torch.bool) else args
    if isinstance(args, (list, tuple)):
        return type(args)(absolute(op, part) for part in args)
    if isinstance(args, dict):
        return {name: abs(part) if name in ("alpha", "beta") else absolute(op, part) for name, part in args.items()}
    return abs(args) if isinstance(args, float) or (whole and type(args) is int) else args
