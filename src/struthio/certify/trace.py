"""Follows a model on one row and says of each operation what it is: PyTorch's own tracing, then a table."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from struthio.certify import operations
from struthio.certify.lines import Enclosure
from struthio.certify.network import Network, Node, NotBounded
from struthio.certify.operations import AFFINE, NONLINEAR, PRODUCTS, RENAMED, absolute, aten
from struthio.certify.relax import Product
from struthio.checks import UserError, mode
from struthio.types import Model

AGREE = 1e-3  # how far the list of operations may answer from the model, of 1 + its largest output


@dataclass(frozen=True)
class Slot:
    """The place of an earlier value in the arguments of a call."""

    number: int


def trace(model: Model, x: Tensor) -> Network:
    """The operations of a model, found by running it on the first row of x, in double precision.

    Any Python code will do, as long as the operations do not depend on the values. What was found is run on all of
    x, and on x back to front and a little smaller, and must answer like the model.

    Args:
        model: from a batch to outputs [n, classes], in evaluation mode.
        x: some rows [n, ...]; one is enough, but the more the better the check.

    Raises:
        NotBounded: names the operation that is not known, or says that the model is random or cannot be followed.
    """
    return _followed(model, x)[1]


def live(model: Model, x: Tensor) -> Callable[[], Network]:
    """The operations of a model that is being trained, to be read anew after each step.

    They keep the model's parameters, in their own precision and with their gradients.

    Args:
        model: as for `trace`.
        x: likewise.

    Raises:
        NotBounded: likewise.
    """
    graph, row = _followed(model, x)[0], x[:1].clone()
    return lambda: _read(graph, row, live=True).without_softmax()


def _followed(model: Model, x: Tensor) -> tuple[fx.GraphModule, Network]:
    model = getattr(model, "original", model)  # what a prepared copy was made of
    mode(model)
    random = [name or type(model).__name__ for name, part in _parts(model) if getattr(part, "random", False) is True]
    if random:
        raise NotBounded(f"{random[0]} is random: it is no one network to bound. SmoothedModel certifies by drawing.")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            graph = _graph(model, x[:1])
            network = _read(graph, x[:1].to(torch.float64))
            gap = _gap(model, network, x)
    except UserError:
        raise
    except Exception as error:
        raise NotBounded(f"the model cannot be followed: {type(error).__name__}: {str(error)[:200]}") from error
    return graph, replace(network, gap=gap).without_softmax()


def _gap(model: Model, network: Network, x: Tensor) -> Tensor:
    """How far the operations answer from the model at x, [n]. Raises NotBounded where it is more than rounding."""
    ramp = torch.linspace(0.9, 1, x.shape[-1], dtype=x.dtype, device=x.device)
    for seen in (x.flip(-1) * ramp, x):
        given, found = model(seen), network(seen)
        if given.shape != found.shape or not _agree(given.to(found), found):
            raise NotBounded(
                "the model answers otherwise than its own operations do one by one: it is random, it remembers, it "
                "mixes the rows of a batch, or it leaves PyTorch (numpy, an ONNX runtime) on the way."
            )
    return (given.to(found) - found).abs().amax(1)


def _parts(model: Model) -> list[tuple[str, Any]]:
    return list(model.named_modules()) if isinstance(model, torch.nn.Module) else [("", model)]


def _agree(given: Tensor, found: Tensor) -> bool:
    return bool(((given - found).abs() <= AGREE * (1 + given.abs().amax(1, keepdim=True))).all())


def _graph(model: Model, x: Tensor) -> fx.GraphModule:
    from torch._decomp import get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    norms = (aten._native_batch_norm_legit_no_training, aten.native_batch_norm, aten.cudnn_batch_norm)
    table: dict[Any, Any] = dict(get_decompositions(norms))
    table[aten.max_pool2d_with_indices.default] = operations.pool_as_greatest
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pure = torch.func.functionalize(model, remove="mutations")
        graph: fx.GraphModule = make_fx(pure, decomposition_table=table)(x)
    graph.graph.eliminate_dead_code()
    return graph


def _read(graph: fx.GraphModule, x: Tensor, live: bool = False) -> Network:
    """Fold what does not depend on the input, and say of each other operation what it is, in the precision of x."""
    known: dict[fx.Node, Any] = {}
    shapes: dict[int, torch.Size] = {0: x.shape}
    nodes: list[Node] = []
    for step in graph.graph.nodes:
        if step.op == "placeholder":
            known[step] = Slot(0)
            nodes.append(Node("input", (), x.shape, like=x.new_zeros(())))
        elif step.op == "get_attr":
            constant = getattr(graph, step.target).to(x.device)
            known[step] = _as(constant if live else constant.detach(), x)
        elif step.op == "output":
            result = known[step.args[0]] if isinstance(step.args[0], fx.Node) else None
            if not isinstance(result, Slot) or result.number == 0:
                raise NotBounded("the model's outputs do not depend on its input in a way that can be followed.")
            return Network(tuple(nodes[: result.number + 1]))
        else:
            args, kwargs = (
                tree_map(lambda part: known[part] if isinstance(part, fx.Node) else part, step.args),
                {name: known[part] if isinstance(part, fx.Node) else part for name, part in step.kwargs.items()},
            )
            sources = tuple(part.number for part in tree_leaves((args, kwargs)) if isinstance(part, Slot))
            if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
                raise NotBounded(f"the model draws random numbers ({step.target}); SmoothedModel certifies by drawing.")
            if not sources or step.target in operations.SHAPES:
                args = tree_map(lambda part: x.new_zeros(shapes[part.number]) if isinstance(part, Slot) else part, args)
                known[step] = _as(step.target(*args, **kwargs), x)
                continue
            for node in _nodes(step, args, kwargs, sources, tuple(shapes[source] for source in sources), x, len(nodes)):
                known[step] = Slot(len(nodes))
                shapes[len(nodes)] = node.shape
                nodes.append(node)
    raise NotBounded("the model's operations end nowhere.")


def _as(value: Any, x: Tensor) -> Any:
    return value.to(x.dtype) if isinstance(value, Tensor) and value.is_floating_point() else value


def _nodes(
    step: fx.Node,
    args: Any,
    kwargs: Any,
    sources: tuple[int, ...],
    shapes: tuple[torch.Size, ...],
    x: Tensor,
    number: int,
) -> tuple[Node, ...]:
    """The operation as one node; the product of two values as two, the first of which puts them side by side."""
    if step.target is not aten.mul.Tensor or len(sources) != 2:
        return (_node(step, args, kwargs, sources, shapes, x),)
    zeros, like = [x.new_zeros(shape) for shape in shapes], x.new_zeros(())
    pair = Node(step.name, sources, _pair(*zeros).shape, _pair, _pair, None, _pair, (), like, shapes)
    product = Product()
    shape = product(_pair(*zeros)).shape
    return pair, Node(step.name, (number,), shape, relaxation=product, like=like, shapes=(pair.shape,))


def _pair(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(a, b), -1)


def _node(
    step: fx.Node, args: Any, kwargs: Any, sources: tuple[int, ...], shapes: tuple[torch.Size, ...], x: Tensor
) -> Node:
    op: Any = RENAMED.get(step.target, step.target)
    like = x.new_zeros(())
    if op is aten.log.default or "_softmax" in str(op):
        name = "log" if op is aten.log.default else "softmax"
        return Node(name, sources, shapes[0], relaxation=_Last(op, args[1:], kwargs), shapes=shapes)
    zeros = [x.new_zeros(shape) for shape in shapes]
    if op in NONLINEAR and len(sources) == 1:
        if op is aten.amax.default:  # one dimension, counted from the end, so that rows may be put before it
            dims = [dim - len(shapes[0]) if dim >= 0 else dim for dim in (args[1] if len(args) > 1 else ())]
            if len(dims) != 1 or dims[0] == -len(shapes[0]):
                raise _unknown(step)
            args = (args[0], dims, *args[2:])
        relaxation = NONLINEAR[op](*args[1:], **kwargs)
        return Node(step.name, sources, relaxation(zeros[0]).shape, relaxation=relaxation, like=like, shapes=shapes)
    varying = [position for position in PRODUCTS.get(op, ()) if isinstance(args[position], Slot)]
    divides = op is aten.div.Tensor and isinstance(args[1], Slot)
    if op not in AFFINE or len(varying) > 1 or divides:
        raise _unknown(step)
    run = _call(op, args, kwargs)
    return Node(
        step.name, sources, run(*zeros).shape, run, _call(AFFINE[op], absolute(op, args), absolute(op, kwargs)),
        None, op, args, like, shapes,
    )  # fmt: skip


def _unknown(step: fx.Node) -> NotBounded:
    known = sorted({str(op).split(".")[1] for op in NONLINEAR})
    return NotBounded(
        f"no bounds are known for the operation {step.target} ({step.name}). Known are sums, products with constants, "
        f"convolutions, averages, views, max-pooling and {', '.join(known)}."
    )


def _call(op: Callable[..., Any], args: Any, kwargs: Any) -> Callable[..., Tensor]:
    """A function of the values in the slots alone."""

    def run(*values: Tensor) -> Tensor:
        left = iter(values)
        filled, named = tree_map(lambda part: next(left) if isinstance(part, Slot) else part, (args, kwargs))
        out: Tensor = op(*filled, **named)
        return out

    return run


@dataclass(frozen=True)
class _Last:
    """A softmax or a logarithm, which are only allowed as the last operations."""

    steepest: ClassVar[float] = 1.0

    op: Any
    args: Any
    kwargs: Any

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x, *self.args, **self.kwargs)
        return out

    def interval(self, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """Not known."""
        raise _not_last(self.op)

    def uncertain(self, low: Tensor, high: Tensor) -> Tensor:
        """Nowhere."""
        return torch.zeros_like(low, dtype=torch.bool)

    def enclose(self, low: Tensor, high: Tensor) -> Enclosure:
        """Not known."""
        raise _not_last(self.op)


def _not_last(op: Any) -> NotBounded:
    return NotBounded(
        f"{op} has no bounds within a network: a softmax is left out at the end, and so is the logarithm of one."
    )
