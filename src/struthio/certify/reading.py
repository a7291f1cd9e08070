"""Says of each step of a traced model what operation it is, and folds the steps that do not depend on the input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves, tree_map

from struthio.certify.call import Call, Slot, in_precision
from struthio.certify.lines import Enclosure
from struthio.certify.network import Network, Node, NotBounded
from struthio.certify.operations import AFFINE, NONLINEAR, PRODUCTS, RENAMED, SHAPES, absolute, aten
from struthio.certify.relax import Product

SOFTMAX = {aten._softmax.default: "softmax", aten._log_softmax.default: "log softmax"}


def read(graph: fx.GraphModule, x: Tensor, live: bool = False) -> Network:
    """The operations of a traced model, in the precision of x.

    Args:
        graph: as PyTorch traced it.
        x: one row [1, ...].
        live: whether the model's parameters stay, with their gradients.

    Raises:
        NotBounded: names the operation that is not known.
    """
    known: dict[fx.Node, Any] = {}
    nodes: list[Node] = []
    for step in graph.graph.nodes:
        if step.op == "placeholder":
            known[step] = Slot(0)
            nodes.append(Node("input", (), x.shape, like=x.new_zeros(())))
        elif step.op == "get_attr":
            constant = getattr(graph, step.target).to(x.device)
            known[step] = in_precision(constant if live else constant.detach(), x)
        elif step.op == "output":
            result = known[step.args[0]] if isinstance(step.args[0], fx.Node) else None
            if not isinstance(result, Slot) or result.number == 0:
                raise NotBounded("the model's outputs do not depend on its input in a way that can be followed.")
            return Network(tuple(nodes[: result.number + 1]))
        else:
            known[step] = _step(step, known, nodes, x)
    raise NotBounded("the model's operations end nowhere.")


def _step(step: fx.Node, known: dict[fx.Node, Any], nodes: list[Node], x: Tensor) -> Any:
    """The slot of a step, whose nodes are added to those before it; its value, where that is constant."""
    args, named = tree_map(lambda part: known[part] if isinstance(part, fx.Node) else part, (step.args, step.kwargs))
    sources = tuple(part.number for part in tree_leaves((args, named)) if isinstance(part, Slot))
    if torch.Tag.nondeterministic_seeded in getattr(step.target, "tags", ()):
        raise NotBounded(f"the model draws random numbers ({step.target}); SmoothedModel certifies by drawing.")
    assert callable(step.target)
    if not sources or step.target in SHAPES:
        args = tree_map(lambda part: x.new_zeros(nodes[part.number].shape) if isinstance(part, Slot) else part, args)
        return in_precision(step.target(*args, **named), x)
    shapes = tuple(nodes[source].shape for source in sources)
    if step.target is aten.mul.Tensor and len(sources) == 2:
        together = Call(_pair, tuple(map(Slot, sources)))
        pair = _affine(step.name, together, together, sources, shapes, x)
        nodes.append(pair)
        sources, shapes, op = (len(nodes) - 1,), (pair.shape,), Product()
        nodes.append(_bent(step.name, op, sources, shapes, x))
    else:
        nodes.append(_node(step, args, named, sources, shapes, x))
    return Slot(len(nodes) - 1)


def _node(
    step: fx.Node, args: Any, named: Any, sources: tuple[int, ...], shapes: tuple[torch.Size, ...], x: Tensor
) -> Node:
    op: Any = RENAMED.get(step.target, step.target)
    if op is aten.log.default or op in SOFTMAX:
        return _bent(_last_name(op, args, shapes[0]) or step.name, _Last(op, args[1:], named), sources, shapes, x)
    if op in NONLINEAR and len(sources) == 1:
        if op is aten.amax.default:
            args = (args[0], _one_dimension(step, args, len(shapes[0])), *args[2:])
        return _bent(step.name, NONLINEAR[op](*args[1:], **named), sources, shapes, x)
    varying = [position for position in PRODUCTS.get(op, ()) if isinstance(args[position], Slot)]
    divides = op is aten.div.Tensor and isinstance(args[1], Slot)
    whole = isinstance(kind := named.get("dtype"), torch.dtype) and not kind.is_floating_point
    if op not in AFFINE or len(varying) > 1 or divides or whole:
        raise _unknown(step)
    spread = Call(AFFINE[op], absolute(op, args), absolute(op, named))
    return _affine(step.name, Call(op, args, named), spread, sources, shapes, x)


def _last_name(op: Any, args: Any, shape: torch.Size) -> str | None:
    """The name by which a logarithm, or a softmax over classes, is known where it ends a network."""
    if op is aten.log.default:
        return "log"
    return SOFTMAX[op] if len(shape) == 2 and args[1] in (1, -1) else None


def _one_dimension(step: fx.Node, args: Any, sides: int) -> list[int]:
    """The dimension of a maximum, counted from the end, so that rows may be put before it."""
    dims = [dim - sides if dim >= 0 else dim for dim in (args[1] if len(args) > 1 else ())]
    if len(dims) != 1 or dims[0] == -sides:
        raise _unknown(step)
    return dims


def _affine(
    name: str, run: Call, spread: Call, sources: tuple[int, ...], shapes: tuple[torch.Size, ...], x: Tensor
) -> Node:
    shape = run(*map(x.new_zeros, shapes)).shape
    return Node(name, sources, shape, run, spread, None, x.new_zeros(()), shapes)


def _bent(name: str, op: Any, sources: tuple[int, ...], shapes: tuple[torch.Size, ...], x: Tensor) -> Node:
    return Node(name, sources, op(x.new_zeros(shapes[0])).shape, None, None, op, x.new_zeros(()), shapes)


def _pair(a: Tensor, b: Tensor) -> Tensor:
    return torch.stack(torch.broadcast_tensors(a, b), -1)


def _unknown(step: fx.Node) -> NotBounded:
    known = sorted({str(op).split(".")[1] for op in NONLINEAR})
    return NotBounded(
        f"no bounds are known for the operation {step.target} ({step.name}). Known are sums, products with constants, "
        f"convolutions, averages, views, max-pooling and {', '.join(known)}."
    )


@dataclass(frozen=True)
class _Last:
    """A softmax or a logarithm, which are only allowed as the last operations."""

    steepest: ClassVar[float] = 1.0

    op: Any
    args: Any
    named: Any

    def __call__(self, x: Tensor) -> Tensor:
        out: Tensor = self.op(x, *self.args, **self.named)
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
        f"{op} has no bounds within a network: a softmax over classes is left out at the end, and so is its logarithm."
    )
