"""What every threat promises. `check_threat(MyThreat(0.1))` tries it all; `threat_promises()` lists it for pytest."""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.describe import describe
from struthio.rows import RowGenerator
from struthio.testing.models import small_inputs
from struthio.testing.require import CLOSE, BrokenPromise, off, require
from struthio.types import Threat

Check = Callable[[Threat, Tensor], None]
SCALES = (0.01, 1.0, 100.0)  # of the changes that are projected
_PROMISES: list[Check] = []


def threat_promises() -> list[Check]:
    """Every promise as a function of a threat and inputs that fit it, which raises BrokenPromise where it is broken."""
    return list(_PROMISES)


def check_threat(threat: Threat, x: Tensor | None = None) -> None:
    """Try every promise on a threat. Raises BrokenPromise at the first that breaks.

    Args:
        threat: of finite radius above 0.
        x: at least three rows of inputs that fit it, best in float64; by default pictures [8, 3, 8, 8] in [0, 1].
    """
    for promise in _PROMISES:
        promise(threat, small_inputs() if x is None else x)


def _promise(check: Check) -> Check:
    @functools.wraps(check)
    def promise(threat: Threat, x: Tensor) -> None:
        try:
            check(threat, x)
        except BrokenPromise as broken:
            raise BrokenPromise(f"{describe(threat)} on x of shape {tuple(x.shape)}: {broken}") from None

    _PROMISES.append(promise)
    return promise


def _generator(x: Tensor, seed: int = 0) -> RowGenerator:
    return RowGenerator.seeded(seed, torch.arange(len(x)))


def _changes(threat: Threat, x: Tensor) -> list[Tensor]:
    """Changes of every scale, most of them outside; some values of each are zero."""
    wild = []
    for turn, scale in enumerate(SCALES):
        noise = _generator(x, turn).normal(threat.zero(x).shape[1:], x.dtype)
        wild.append(scale * noise * (_generator(x, turn + 10).uniform(noise.shape[1:]) < 0.8))
    return wild


@_promise
def zero_changes_nothing(threat: Threat, x: Tensor) -> None:
    """`zero` is the z that changes nothing, and it is allowed."""
    same = threat.apply(x, threat.zero(x))
    require(torch.equal(same, x), f"zero moves values by up to {off(same, x)}")
    require((threat.size(x, x) == 0).all(), "x has a size other than 0")
    require(threat.allows(x, x).all(), "x itself is not allowed")
    z = threat.zero(x)
    require(off(threat.project(x, z), z) == 0, "zero is moved by project")


@_promise
def samples_are_allowed(threat: Threat, x: Tensor) -> None:
    """`sample` draws from the ball, for each row by its own numbers, and differently for another seed."""
    z = threat.sample(x, _generator(x))
    _allowed(threat, x, z, "a sample")
    alone = torch.cat([threat[row].sample(x[row], _generator(x)[row]) for row in torch.arange(len(x)).split(1)])
    require(torch.equal(alone, z), "a row's sample depends on the other rows")
    require(not torch.equal(threat.sample(x, _generator(x, seed=1)), z), "another seed gives the same sample")


@_promise
def projections_are_allowed(threat: Threat, x: Tensor) -> None:
    """`project` brings any change inside, once and for all; `about(x)`, where a threat has it, does the same."""
    about = getattr(threat, "about", lambda x: functools.partial(threat.project, x))(x)
    for wild in _changes(threat, x):
        z = threat.project(x, wild)
        _allowed(threat, x, z, "a projection")
        require(torch.equal(about(wild), z), f"about(x) is off project by up to {off(about(wild), z)}")
        again = threat.project(x, z)
        require(off(again, z) <= CLOSE, f"projecting twice moves values by up to {off(again, z)}")


@_promise
def projections_are_nearest(threat: Threat, x: Tensor) -> None:
    """No allowed change tried, near the projection or anywhere, is nearer to the one projected."""
    for wild in _changes(threat, x):
        z = threat.project(x, wild)
        near = [threat.project(x, z + scale * other) for other in _changes(threat, x) for scale in (0.001, 0.1)]
        for other in (*near, threat.zero(x), threat.sample(x, _generator(x, seed=5))):
            nearest, tried = ((part - wild).flatten(1).norm(dim=1) for part in (z, other))
            require((nearest <= tried * (1 + CLOSE) + CLOSE).all(), f"another is nearer by {off(nearest, tried)}")


@_promise
def rows_keep_their_own(threat: Threat, x: Tensor) -> None:
    """`threat[rows]` does to these rows what the threat does to them among all, in any order."""
    wild = _changes(threat, x)[1]
    orders: list[Tensor | slice] = [torch.tensor([2, 0]), slice(1, 3), torch.arange(len(x)) % 2 == 0]
    for rows in orders:
        part = threat[rows]
        for name, of_all, of_part in (
            ("project", threat.project(x, wild), part.project(x[rows], wild[rows])),
            ("steepest", threat.steepest(x, wild, wild), part.steepest(x[rows], wild[rows], wild[rows])),
            ("apply", threat.apply(x, wild), part.apply(x[rows], wild[rows])),
            ("farthest", threat.farthest(x), part.farthest(x[rows])),
        ):
            require(torch.equal(of_part, of_all[rows]), f"{name} of rows {rows} differs from that among all rows")


@_promise
def radius_follows(threat: Threat, x: Tensor) -> None:
    """`at` changes the radius and nothing else: 0 allows no change, half the radius stays within it."""
    wild = _changes(threat, x)[2]
    nothing = threat.at(0.0)
    require(torch.equal(nothing.apply(x, nothing.project(x, wild)), x), "something changes at radius 0")
    half = threat.at(torch.as_tensor(threat.eps) / 2)
    size = threat.size(x, half.apply(x, half.project(x, wild)))
    require((size <= torch.as_tensor(half.eps) + CLOSE).all(), "half the radius is not kept to")


@_promise
def steps_gain(threat: Threat, x: Tensor) -> None:
    """`steepest` never loses, to first order; a slope of zero gives a step without NaN."""
    grad = _changes(threat, x)[1]
    z = threat.sample(x, _generator(x))
    gain = (threat.steepest(x, z, grad) * grad).flatten(1).sum(1)
    require((gain > 0).all(), f"steps gain {gain.tolist()}")
    require(threat.steepest(x, z, torch.zeros_like(z)).isfinite().all(), "a slope of zero gives NaN or infinity")


@_promise
def slopes_pass(threat: Threat, x: Tensor) -> None:
    """A slope of the input reaches z through `apply`, and nothing is changed in place."""
    z = threat.sample(x, _generator(x)).requires_grad_()
    before = x.clone(), z.detach().clone()
    (grad,) = torch.autograd.grad(threat.apply(x, z).sum(), z)
    require(grad.isfinite().all() and (grad != 0).any(), "no slope reaches z")
    threat.project(x, z.detach()), threat.steepest(x, z.detach(), grad), threat.size(x, x)
    require(torch.equal(x, before[0]) and torch.equal(z.detach(), before[1]), "x or z was changed in place")


@_promise
def farthest_is_an_upper_bound(threat: Threat, x: Tensor) -> None:
    """No change that the limits allow is larger than `farthest`."""
    free = threat.at(threat.farthest(x).clamp(max=1e6))
    for wild in _changes(threat, x):
        size = threat.size(x, free.apply(x, free.project(x, wild)))
        require((size <= threat.farthest(x) + CLOSE).all(), "a change is larger than the farthest one")


@_promise
def refuses_inputs_that_cannot_be_meant(threat: Threat, x: Tensor) -> None:
    """`check` accepts x, and refuses NaN and whole numbers with UserError."""
    threat.check(x)
    for wrong, what in ((x * torch.nan, "NaN"), (x.long(), "whole numbers")):
        try:
            threat.check(wrong)
        except UserError:
            continue
        require(False, f"inputs of {what} are not refused with UserError")


def _allowed(threat: Threat, x: Tensor, z: Tensor, what: str) -> None:
    x_adv = threat.apply(x, z)
    size, eps = threat.size(x, x_adv), torch.as_tensor(threat.eps)
    require((size <= eps + CLOSE).all(), f"{what} has sizes {size.tolist()} for radii {eps.tolist()}")
    require(threat.allows(x, x_adv).all(), f"{what} is not allowed by the threat itself")
