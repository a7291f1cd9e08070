"""Folds batch-norm into the convolution before it, found by following the tensors of one forward pass.

Graph tracing matches layers by type and passes over subclasses without a word; following tensors needs no trace, works
through any Python code, and sees every other use of a convolution's output.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd
from torch.nn.utils.parametrize import is_parametrized
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


@dataclass(frozen=True)
class Pair:
    """A convolution and the batch-norm that alone sees its output, with what went in and what came out."""

    conv: _ConvNd
    norm: _BatchNorm
    before: Tensor
    after: Tensor


class _Uses(TorchDispatchMode):
    """Counts how often each tensor is handed to an operation."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.count: Counter[int] = Counter()

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # to be skipped by the compiler, torch would first load it: two seconds for nothing

    def __torch_dispatch__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        self.count.update(id(leaf) for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor))
        return func(*args, **kwargs)


def fold_batch_norm(model: nn.Module, x: Tensor, tolerance: float = 1e-4) -> int:
    """Fold, in place, every batch-norm that follows a convolution; returns how many.

    Each is checked at once: the folded convolution must give what the pair gave, to `tolerance` of its largest output.
    Only for a copy in evaluation mode: weights become new frozen parameters and each folded norm an identity.

    Args:
        model: in evaluation mode.
        x: a batch to send through, [n, ...]; one row is enough.
        tolerance: of the largest output, or of 1 where that is less.
    """
    folded = [pair for pair in find_pairs(model, x) if _fold(pair, tolerance)]
    norms = {pair.norm for pair in folded}
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if child in norms:
                setattr(module, name, nn.Identity())
    return len(folded)


@torch.no_grad()
def find_pairs(model: nn.Module, x: Tensor) -> list[Pair]:
    """The convolutions whose output goes to one batch-norm and nowhere else, in the order in which they run."""
    made: dict[int, tuple[_ConvNd, Tensor, Tensor]] = {}  # by the id of the output, which is kept alive here
    inside: Counter[int] = Counter()
    calls: Counter[nn.Module] = Counter()
    seen: list[tuple[int, Pair]] = []
    uses = _Uses()

    def conv_after(conv: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        calls[conv] += 1
        assert isinstance(conv, _ConvNd)
        made[id(out)] = (conv, args[0].clone(), out)
        uses.count[id(out)] = 0  # what was counted under this id was a tensor that is gone

    def norm_before(norm: nn.Module, args: tuple[Any, ...]) -> None:
        inside[id(args[0])] -= uses.count[id(args[0])]

    def norm_after(norm: nn.Module, args: tuple[Any, ...], out: Tensor) -> None:
        calls[norm] += 1
        key = id(args[0])
        inside[key] += uses.count[key]
        if key in made and isinstance(norm, _BatchNorm):
            conv, before, _ = made[key]
            seen.append((key, Pair(conv, norm, before, out.clone())))

    with _uncompiled(), _hooks(model, conv_after, norm_before, norm_after), uses:
        returned = {id(leaf) for leaf in tree_leaves(model(x)) if isinstance(leaf, Tensor)}
    return [
        pair
        for key, pair in seen
        if calls[pair.conv] == calls[pair.norm] == 1 and uses.count[key] == inside[key] and key not in returned
    ]


def _uncompiled() -> AbstractContextManager[object]:
    """Parts that torch.compile made run as they were written, so that their tensors can be followed."""
    return torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()


@contextmanager
def _hooks(model: nn.Module, conv_after: Any, norm_before: Any, norm_after: Any) -> Iterator[None]:
    handles = []
    for module in model.modules():
        if isinstance(module, _ConvNd) and _plain(module) and not module.transposed:
            handles.append(module.register_forward_hook(conv_after))
        elif isinstance(module, _BatchNorm) and _plain(module) and type(module).forward is _BatchNorm.forward:
            handles += [module.register_forward_pre_hook(norm_before), module.register_forward_hook(norm_after)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _plain(module: nn.Module) -> bool:
    """Whether nobody else watches or rewrites this layer, and its statistics are fixed."""
    watched = module._forward_hooks or module._forward_pre_hooks or module._backward_hooks or module._backward_pre_hooks
    fixed = not isinstance(module, _BatchNorm) or (module.running_mean is not None and not module.training)
    return not watched and not is_parametrized(module) and fixed


@torch.no_grad()
def _fold(pair: Pair, tolerance: float) -> bool:
    """Put the norm's scale and shift into the convolution; taken back, with False, where the output changes."""
    conv, norm = pair.conv, pair.norm
    weight, bias = conv.weight, conv.bias
    assert norm.running_mean is not None
    assert norm.running_var is not None
    # In double precision, so that the only rounding is that of the result.
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    scale = scale if norm.weight is None else scale * norm.weight.double()
    start = 0.0 if bias is None else bias.double()
    shift = (start - norm.running_mean.double()) * scale + (0.0 if norm.bias is None else norm.bias.double())
    wide = weight.double() * scale.reshape(-1, *[1] * (weight.ndim - 1))
    conv.weight = nn.Parameter(wide.to(weight.dtype), requires_grad=False)
    conv.bias = nn.Parameter(shift.to(weight.dtype), requires_grad=False)
    largest = max(1.0, float(pair.after.abs().max()))
    if float((conv(pair.before) - pair.after).abs().max()) <= tolerance * largest:
        return True
    conv.weight, conv.bias = weight, bias
    return False
