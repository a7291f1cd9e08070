"""How every training recipe behaves: its loss, its traces, what it prepares and finishes, and that it trains."""

from __future__ import annotations

import copy
import dataclasses
import inspect
import re
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

from struthio.checks import UserError
from struthio.describe import describe
from struthio.testing.recipe_bench import CLASSES, ROWS, Bench, Breaking, made, network, same
from struthio.testing.require import BrokenPromise, off, require
from struthio.testing.traces import changed, snapshot
from struthio.train.recipe import Recipe


def gives_a_loss_for_all_that_is_trained(recipe: Recipe | type[Recipe]) -> None:
    """The loss is one finite number, and every trained parameter gets a finite gradient."""
    for dtype, mixed in ((torch.float64, False), (torch.float32, True)):
        bench = Bench(made(recipe), dtype)
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss, slopes = bench.slopes()
        where = " in mixed precision" if mixed else ""
        require(loss.isfinite(), f"the loss is {float(loss)}{where}")
        for name, slope in slopes.items():
            require(slope is not None, f"{name} is trained and gets no gradient{where}")
            require(slope is None or slope.isfinite().all(), f"the gradient of {name} is not finite{where}")
        moving = [slope for slope in slopes.values() if slope is not None and slope.any()]
        require(bool(moving), f"every gradient is zero{where}")


def answers_the_same_again(recipe: Recipe | type[Recipe]) -> None:
    """The same moment gives the same loss and gradients, whatever torch's global numbers are."""
    results = []
    for seed in (0, 1):
        bench = Bench(made(recipe))
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            loss = bench.recipe(bench.trained, bench.x, bench.y, bench.moment())
        loss.backward()
        results.append([loss.detach(), *(value.grad for value in bench.wanted().values())])
    require(same(*results), "the same moment gives two answers; draw from its generator alone")


def leaves_no_trace(recipe: Recipe | type[Recipe]) -> None:
    """Asking for a loss leaves the mode of every part, parameters, gradients, hooks, inputs and random state alone."""
    bench = Bench(made(recipe))
    for part in list(bench.trained.modules())[-1:]:
        part.eval()
    before = snapshot(bench.trained, bench.x, bench.y)
    bench.recipe(bench.trained, bench.x, bench.y, bench.moment())
    _unchanged(before, bench)


def leaves_no_trace_when_the_model_breaks(recipe: Recipe | type[Recipe]) -> None:
    """Also when the model raises in any of its first calls, which the caller gets to see."""
    for call in (1, 2, 3):
        bench = Bench(made(recipe))
        first = next(part for part in bench.trained.modules() if isinstance(part, nn.Conv2d))
        first.register_forward_pre_hook(Breaking(call))
        before = snapshot(bench.trained, bench.x, bench.y)
        try:
            bench.recipe(bench.trained, bench.x, bench.y, bench.moment())
        except RuntimeError as error:
            require("made to break" in str(error), f"the model's error became {error!r}")
        _unchanged(before, bench)


def _unchanged(before: dict[str, Any], bench: Bench) -> None:
    left = changed(before, snapshot(bench.trained, bench.x, bench.y))
    left = [name for name in left if not name.startswith("buffer ")]  # statistics of batch-norm move, as they should
    require(not left, f"changed: {', '.join(sorted(left))}")


def is_plain_at_radius_zero(recipe: Recipe | type[Recipe]) -> None:
    """Where `plain_at_zero` says so, a threat of radius 0 leaves cross-entropy on the inputs as they are."""
    bench = Bench(made(recipe))
    if not getattr(bench.recipe, "plain_at_zero", False):
        return
    still = replace(bench.recipe, threat=bench.recipe.threat.at(0.0))  # type: ignore[attr-defined, call-arg]
    bench = Bench(still)
    plain = F.cross_entropy(network()(bench.x), bench.y)
    for step in (0, 1):
        loss = bench.loss(step)
        require(
            off(loss.detach(), plain.detach()) < 1e-9,
            f"the loss is {float(loss.detach())}, plainly {float(plain.detach())}",
        )
        loss.backward()


def prepares_and_finishes(recipe: Recipe | type[Recipe]) -> None:
    """What is finished answers in the model's shape, and all weights come back from a .safetensors file."""
    bench, other = Bench(made(recipe)), Bench(made(recipe))
    bench.slopes()
    with torch.no_grad():
        for value in bench.wanted().values():
            value.add_(0.01)
    for part, fresh in ((bench.trained, other.trained), (_finished(bench), _finished(other))):
        fresh.load_state_dict(load(save({name: value.contiguous() for name, value in part.state_dict().items()})))
    outputs = [used(bench.x) for used in (_finished(bench), _finished(other))]
    require(outputs[0].shape == (ROWS, CLASSES), f"what is finished answers in shape {tuple(outputs[0].shape)}")
    require(outputs[0].isfinite().all(), "what is finished gives answers that are not finite")
    require(torch.equal(*outputs), "weights that were saved and read back answer otherwise")


def _finished(bench: Bench) -> nn.Module:
    return bench.recipe.finish(bench.trained).eval()


def learns(recipe: Recipe | type[Recipe], steps: int = 15) -> None:
    """A few short steps against the sign of the gradient lower the cross-entropy on the rows trained on."""
    bench = Bench(made(recipe))
    before = _plain_loss(bench)
    for step in range(steps):
        _, slopes = bench.slopes(step, step / steps)
        with torch.no_grad():
            for name, weights in bench.wanted().items():
                slope = slopes[name]
                if slope is not None:
                    weights.sub_(0.01 * slope.sign())
            bench.recipe.after_step(bench.trained, bench.moment(step, step / steps))
    after = _plain_loss(bench)
    require(after < before, f"cross-entropy on the rows trained on goes from {before} to {after}")


@torch.no_grad()
def _plain_loss(bench: Bench) -> float:
    used = copy.deepcopy(bench.trained)
    loss = float(F.cross_entropy(bench.recipe.finish(used).eval()(bench.x), bench.y))
    return loss


def refuses_wrong_labels(recipe: Recipe | type[Recipe]) -> None:
    """Labels that are not one whole class number a row raise UserError."""
    bench = Bench(made(recipe))
    for labels, what in (
        (bench.y[:-1], "too few labels"),
        (bench.y[:, None], "labels of shape [n, 1]"),
        (bench.y.double(), "labels that are no whole numbers"),
    ):
        try:
            bench.recipe(bench.trained, bench.x, labels, bench.moment())
        except UserError:
            continue
        except Exception as error:
            raise BrokenPromise(f"{what} led to {error!r}, not to UserError") from error
        raise BrokenPromise(f"{what} were not refused with UserError")


def is_documented(recipe: Recipe | type[Recipe]) -> None:
    """It is a frozen dataclass whose docstring says what every option does, and the paper is named with its year."""
    usual = made(recipe)
    kind = type(usual)
    require(kind.__dataclass_params__.frozen, "it is not frozen")  # type: ignore[attr-defined]
    text = "\n".join(inspect.getdoc(base) or "" for base in kind.__mro__)
    for option in dataclasses.fields(usual):
        require(re.search(rf"^\s+{option.name}: \S", text, re.MULTILINE) is not None, f"no word about {option.name}")
    require(re.search(r"\b(19|20)\d\d\b", kind.paper) is not None, f"no year in the paper: {kind.paper!r}")
    require(describe(usual) == describe(replace(usual)), "its description is not stable")
