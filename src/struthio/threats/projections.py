"""Exact projections: the nearest change inside a ball and between limits, both at once.

Clipping after projecting onto the ball alone gives an allowed point, but not the nearest one, and wastes radius on
values that cannot move. All functions take d [n, ...], a radius eps [n, 1, ...] or a number, and the room low <= 0 <=
high that each entry has (or None where there are no limits).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from struthio.rows import where_rows

Room = tuple[Tensor, Tensor] | None


def clip(d: Tensor, room: Room) -> Tensor:
    """The nearest change between the limits."""
    return d if room is None else torch.clamp(d, room[0], room[1])


def project_linf(d: Tensor, eps: Tensor | float, room: Room) -> Tensor:
    """The nearest change with every entry within eps and between the limits."""
    within = d.clamp(-eps, eps) if isinstance(eps, (int, float)) else torch.minimum(torch.maximum(d, -eps), eps)
    return clip(within, room)


def project_l2(d: Tensor, eps: Tensor | float, room: Room) -> Tensor:
    """The nearest change of Euclidean length at most eps and between the limits.

    It is clip(s d) with the one s in [0, 1] that gives length eps. The squared length, as a function of u = s^2, is
    concave and piecewise linear, so Newton's method from u = 0 climbs to the root without passing it, in finitely
    many steps.
    """
    if isinstance(eps, float) and math.isinf(eps):
        return clip(d, room)
    squares = d.flatten(1).square()
    most = torch.as_tensor(eps, dtype=d.dtype, device=d.device).reshape(-1).square().expand(len(d))
    bounds = squares if room is None else clip(d, room).flatten(1).square()
    fine = torch.finfo(d.dtype)
    kinks = bounds / squares.clamp(min=fine.tiny)  # the u at which an entry reaches its limit
    over = bounds.sum(1) > most
    u, count = (~over).to(d.dtype), torch.promote_types(d.dtype, torch.float32)
    left, fixed = most, _reached(kinks, u)  # at u = 0 those that have reached their limit have no room at all
    while bool(over.any()):
        ahead = (left / torch.linalg.vecdot(squares, 1 - fixed).clamp(min=fine.tiny)).clamp(max=1.0)
        over = over & (ahead > u * (1 + 4 * fine.eps))
        u = torch.where(over, ahead, u)
        before, fixed = fixed, _reached(kinks, u)
        if torch.equal(*(mask.sum(1, dtype=count) for mask in (before, fixed))):
            break  # no more entries have reached their limits, so another turn would change nothing
        left = most - torch.linalg.vecdot(bounds, fixed)
    return clip(d * u.sqrt().reshape(-1, *[1] * (d.ndim - 1)), room)


def _reached(kinks: Tensor, u: Tensor) -> Tensor:
    """1 where an entry has reached its limit, else 0: on a processor, bool takes several times as long as numbers."""
    return torch.le(kinks.detach(), u.detach()[:, None], out=torch.empty_like(kinks))


def project_l1(d: Tensor, eps: Tensor | float, room: Room) -> Tensor:
    """The nearest change whose absolute values sum to at most eps, between the limits.

    It is clip(|d| - t, 0, bound) with the one t >= 0 that gives sum eps (Croce and Hein, 2021, arXiv 2103.01208). The
    sum is piecewise linear in t with kinks at |d| and |d| - bound; sorting them finds the piece.
    """
    if isinstance(eps, float) and math.isinf(eps):
        return clip(d, room)
    flat = d.flatten(1).double()
    eps = torch.as_tensor(eps, dtype=torch.float64, device=d.device).reshape(-1, 1).expand(len(flat), 1)
    height = flat.abs()
    if room is None:
        bound = height
    else:
        edge = torch.where(flat > 0, room[1].expand_as(d).flatten(1), room[0].expand_as(d).flatten(1))
        bound = torch.minimum(edge.double().abs(), height)
    # Walking t down from the largest |d|: at t = |d_i| entry i starts to grow, at t = |d_i| - bound_i it is full.
    kinks, order = torch.cat([height, height - bound], 1).sort(1, descending=True)
    change = torch.ones_like(height)
    active = torch.cat([change, -change], 1).gather(1, order).cumsum(1)  # entries that grow below each kink
    gaps = kinks[:, :-1] - kinks[:, 1:]
    total = torch.cat([torch.zeros_like(eps), (active[:, :-1] * gaps).cumsum(1)], 1)  # the sum at each kink
    piece = ((total <= eps).sum(1, keepdim=True) - 1).clamp(min=0)
    growing = active.gather(1, piece)
    short = (eps - total.gather(1, piece)).clamp(min=0)
    t = kinks.gather(1, piece) - torch.where(growing > 0, short / growing.clamp(min=1), 0.0)
    shrunk = torch.minimum((height - t.clamp(min=0)).clamp(min=0), bound)
    # Where |d| dwarfs its bound the kinks coincide in floating point; no rounding may leave the ball.
    shrunk = shrunk * (eps / shrunk.sum(1, keepdim=True).clamp(min=torch.finfo(eps.dtype).tiny)).clamp(max=1)
    result = (shrunk * flat.sign()).to(d.dtype).reshape(d.shape)
    return where_rows((bound.sum(1, keepdim=True) <= eps).flatten(), clip(d, room), clip(result, room))


def project_l0(d: Tensor, eps: Tensor | float, room: Room, pixels: bool) -> Tensor:
    """The nearest change with at most eps entries (or pixels, all channels of [n, c, h, w] together) that are not
    zero.
    """
    if isinstance(eps, float) and math.isinf(eps):
        return clip(d, room)
    clipped = clip(d, room)
    gain = clipped.double() * (2 * d.double() - clipped.double())  # d^2 - (d - clipped)^2, without cancelling
    if pixels:
        gain = gain.sum(1, keepdim=True)
    flat = gain.flatten(1)
    rank = flat.argsort(dim=1, descending=True, stable=True).argsort(1)
    keep = (rank < torch.as_tensor(eps, device=d.device).reshape(-1, 1)) & (flat > 0)
    return torch.where(keep.reshape(gain.shape), clipped, 0.0)


def onto_plane(slope: Tensor, need: Tensor, room: Room, p: float) -> Tensor:
    """The smallest change d in Linf, L2, L1 or L0, between the limits, whose product with the slope is `need`.

    Where the limits forbid to get so far, the change that gets furthest.

    Args:
        slope: the normal of the plane, [n, ...].
        need: how far off the plane is, in units of slope times d, [n].
        room: the limits of d, low <= 0 <= high.
        p: infinity, 2, 1 or 0.
    """
    way = slope.sign() * need.sign().reshape(-1, *[1] * (slope.ndim - 1))
    height = slope.flatten(1).abs()
    scale = height.amax(1, keepdim=True).clamp(min=torch.finfo(slope.dtype).tiny)
    height, rise = height / scale, (need.abs()[:, None] / scale).clamp(max=_ENDLESS)
    bound = torch.full_like(height, _ENDLESS)
    if room is not None:
        bound = torch.where(way > 0, room[1], -room[0]).flatten(1).clamp(min=0, max=_ENDLESS)
    if p == 0:  # what counts is how much a value can gain, all the way to its limit
        filled = bound * _steepest_first(height * bound, rise, torch.ones_like(bound))
    else:
        filled = _steepest_first(height, rise, bound) if p == 1 else _all_at_once(height, rise, bound, p)
    return filled.reshape(slope.shape) * way


_ENDLESS = 1e30  # instead of infinity, which times zero is not a number


def _all_at_once(height: Tensor, rise: Tensor, bound: Tensor, p: float) -> Tensor:
    """min(t s, bound), with s = 1 in Linf and s = height in L2, for the one t that climbs as far as `rise`.

    The climb is concave and piecewise linear in t, so Newton's method from t = 0 never passes the root.
    """
    pace = torch.ones_like(height) if math.isinf(p) else height
    fine = torch.finfo(height.dtype)
    kinks, gains, rates = bound / pace.clamp(min=fine.tiny), height * bound, height * pace
    t = torch.zeros_like(rise)
    on = torch.ones_like(rise, dtype=torch.bool)
    while bool(on.any()):
        free = (kinks > t).to(height.dtype)
        left = rise - (gains * (1 - free)).sum(1, keepdim=True)
        rate = (rates * free).sum(1, keepdim=True)
        ahead = (left / rate.clamp(min=fine.tiny)).clamp(max=_ENDLESS)
        on = on & (rate > 0) & (ahead > t * (1 + 4 * fine.eps))
        t = torch.where(on, ahead, t)
    return torch.minimum(t * pace, bound)


def _steepest_first(height: Tensor, rise: Tensor, bound: Tensor) -> Tensor:
    """Each entry up to its bound, those of greatest height first, until the climb is as far as `rise`."""
    down, order = height.double().sort(stable=True, dim=1, descending=True)
    bounds = bound.double().gather(1, order)
    gains = down * bounds
    before = gains.cumsum(1) - gains
    taken = ((rise - before) / down.clamp(min=1e-300)).clamp(min=0).minimum(bounds)
    return torch.zeros_like(height).scatter(1, order, taken.to(height.dtype))
