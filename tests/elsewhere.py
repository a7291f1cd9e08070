"""A second device that is only pretended, so that tensors on the wrong one are found where there is no other.

A tensor that is `Away` says that it is on the device "meta", holds its values on the processor, and refuses, as a
graphics card does, to be mixed with one that is not.
"""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

AWAY = torch.device("meta")
HERE = torch.device("cpu")
aten = torch.ops.aten
MOVES = (aten.copy_.default, aten._to_copy.default)  # between devices
INDEXED = (aten.index.Tensor, aten.index_put.default, aten.index_put_.default)  # also by what is on the processor


class Away(Tensor):
    """Values [...] that seem to be on another device."""

    def __new__(cls, inner):
        made = Tensor._make_wrapper_subclass(
            cls, inner.size(), strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=AWAY,
        )  # fmt: skip
        made.inner = inner
        return made

    def __repr__(self):
        return f"Away({self.inner!r})"

    def tolist(self):
        return self.inner.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("numpy was asked for values on another device: use Tensor.cpu() first.")

    __array__ = numpy

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Operations(TorchDispatchMode):
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


class _Made(TorchFunctionMode):
    """Makes here what is then moved: what `torch.tensor` does, the other mode does not see."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if func is Tensor.new_tensor:
            like, *args = args
            func, kwargs = torch.tensor, {"dtype": like.dtype, "device": like.device, **kwargs}
        if func not in (torch.tensor, torch.as_tensor) or torch.device(kwargs.get("device") or HERE) != AWAY:
            return func(*args, **kwargs)
        del kwargs["device"]
        return func(*args, **kwargs).to(AWAY)


@contextlib.contextmanager
def elsewhere() -> Iterator[None]:
    """What is made for the device "meta" is `Away` in here."""
    with _Made(), _Operations():
        yield


def moved(thing):
    """A copy of a tensor, a model, or a dataclass with all that is in it, on the other device."""
    if isinstance(thing, nn.Module):
        twin = copy.deepcopy(thing)
        for module in twin.modules():
            for name, value in module._parameters.items():
                module._parameters[name] = None if value is None else nn.Parameter(Away(value.detach()))
            for name, value in module._buffers.items():
                module._buffers[name] = None if value is None else Away(value)
        return twin
    if isinstance(thing, Tensor):
        return Away(thing.detach().clone()) if thing.ndim else thing
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        fields = (field.name for field in dataclasses.fields(thing) if field.init)
        return dataclasses.replace(thing, **{name: moved(getattr(thing, name)) for name in fields})
    return thing


def _run(func, args, kwargs):
    given = [part for part in tree_leaves((args, kwargs)) if isinstance(part, Tensor)]
    away = _goes_away(func, args, kwargs, given)
    if func not in MOVES:
        _refuse_a_mix(func, args, given)
    bare = tree_map(_bare, (args, kwargs))
    out = func(*bare[0], **bare[1])
    if not away:
        return out
    known = {id(part.inner): part for part in given if isinstance(part, Away)}  # what was changed in place
    return tree_map(lambda part: known[id(part)] if id(part) in known else _wrapped(part), out)


def _goes_away(func, args, kwargs, given):
    """Whether what comes out is on the other device."""
    if kwargs.get("device") is not None:
        return torch.device(kwargs["device"]) == AWAY
    if func is aten.copy_.default or func in INDEXED:
        return isinstance(args[0], Away)
    return any(isinstance(part, Away) for part in given)


def _refuse_a_mix(func, args, given):
    """Single numbers go with everything; indices may be here, and what is indexed there."""
    if func in INDEXED:
        if not isinstance(args[0], Away) and any(isinstance(part, Away) for part in given):
            raise RuntimeError(f"{func}: something on the processor is indexed or set by what is on another device.")
        given = [args[0], *(part for part in args[2:3] if isinstance(part, Tensor))]
    here = [tuple(part.shape) for part in given if not isinstance(part, Away) and part.ndim > 0]
    if here and any(isinstance(part, Away) for part in given):
        raise RuntimeError(f"{func}: all tensors must be on one device, but those of {here} are on the processor.")


def _bare(part):
    if isinstance(part, Away):
        return part.inner
    if isinstance(part, Tensor) and part.device == AWAY:
        raise RuntimeError(f"a tensor of shape {tuple(part.shape)} came to the other device unseen.")
    return HERE if isinstance(part, torch.device) and part == AWAY else part


def _wrapped(part):
    return Away(part) if isinstance(part, Tensor) else part
