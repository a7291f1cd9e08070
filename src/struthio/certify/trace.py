"""Follows a model on one row by PyTorch's own tracing, and checks that what was found answers like the model."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from struthio.certify.network import Network, NotBounded
from struthio.certify.operations import aten
from struthio.certify.reading import read
from struthio.certify.rewritten import REWRITTEN
from struthio.checks import UserError, mode
from struthio.types import Model

AGREE = 1e-3  # how far the list of operations may answer from the model, of 1 + its largest output
TINY = 1e-30  # a share below which single precision is no longer precise


def trace(model: Model, x: Tensor, *near: Tensor) -> Network:
    """The operations of a model, found by running it on the first row of x, in double precision.

    Any Python code will do, as long as the operations do not depend on the values. What was found is run on all of
    x, on x back to front and a little smaller, and on what is near, and must answer like the model.

    Args:
        model: from a batch to outputs [n, classes], in evaluation mode.
        x: some rows [n, ...]; one is enough, but the more the better the check.
        near: other inputs that belong to these rows, [n, ...] each.

    Raises:
        NotBounded: names the operation that is not known, or says that the model is random or cannot be followed.
    """
    return _followed(model, x, *near)[1]


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
    return lambda: read(graph, row, live=True).without_softmax()


def _followed(model: Model, x: Tensor, *near: Tensor) -> tuple[fx.GraphModule, Network]:
    model = getattr(model, "original", model)  # what a prepared copy was made of,
    model = getattr(model, "_orig_mod", model)  # and what torch.compile was given
    mode(model)
    random = [name or type(model).__name__ for name, part in _parts(model) if getattr(part, "random", False) is True]
    if random:
        raise NotBounded(f"{random[0]} is random: it is no one network to bound. SmoothedModel certifies by drawing.")
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            graph = _graph(model, x[:1])
            network = read(graph, x[:1].to(torch.float64))
            gap = _gap(model, network, x, *near)
    except UserError:
        raise
    except Exception as error:
        raise NotBounded(f"the model cannot be followed: {type(error).__name__}: {str(error)[:200]}") from error
    return graph, replace(network, gap=gap).without_softmax()


def _gap(model: Model, network: Network, x: Tensor, *near: Tensor) -> Tensor:
    """The most that the operations answer from the model, [n]. Raises NotBounded where it is more than rounding."""
    ramp = torch.linspace(0.9, 1, x.shape[-1], dtype=x.dtype, device=x.device)
    gap = torch.zeros(len(x), dtype=torch.float64, device=x.device)
    for seen in (x.flip(-1) * ramp, x, *near):
        given, found = model(seen), network(seen)
        if given.shape != found.shape or not _agree(given.to(found), found):
            raise NotBounded(
                "the model answers otherwise than its own operations do one by one: it is random, it remembers, it "
                "mixes the rows of a batch, or it leaves PyTorch (numpy, an ONNX runtime) on the way."
            )
        if network.nodes[-1].name == "softmax":  # whose margins are those of its logarithm
            given, found = (shares.to(gap).clamp(min=TINY).log() for shares in (given, found))
        gap = torch.maximum(gap, (given.to(gap) - found).abs().amax(1))
    return gap


def _parts(model: Model) -> list[tuple[str, Any]]:
    return list(model.named_modules()) if isinstance(model, torch.nn.Module) else [("", model)]


def _agree(given: Tensor, found: Tensor) -> bool:
    return bool(((given - found).abs() <= AGREE * (1 + given.abs().amax(1, keepdim=True))).all())


def _graph(model: Model, x: Tensor) -> fx.GraphModule:
    from torch._decomp import get_decompositions
    from torch.fx.experimental.proxy_tensor import make_fx

    norms = (aten._native_batch_norm_legit_no_training, aten.native_batch_norm, aten.cudnn_batch_norm)
    table: dict[Any, Any] = {**get_decompositions(norms), **REWRITTEN}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pure = torch.func.functionalize(model, remove="mutations")
        graph: fx.GraphModule = make_fx(pure, decomposition_table=table)(x)
    graph.graph.eliminate_dead_code()
    return graph
