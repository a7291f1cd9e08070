"""One step along a boundary: of the points on a plane and in a ball around where a row is, the one nearest to x.

The problem: min ||y||_p with b (y - z) = need, ||y - z||_2 <= radius and low <= y <= high, where z is the change so far
and y the next. Given how much the ball counts against the size of y, and given a multiple of b, each value of y is
found by itself; the multiple is the root of a function that never falls, and so is the weight of the ball.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from struthio.rows import norm
from struthio.threats.projections import onto_plane

Cut = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]  # from the weight [n, 1] and a multiple of b [n, d]
CLOSE = 1e-3  # by what share of the radius a point may lie beyond the ball
TURNS = 40  # of either search, by far enough


def boundary_step(
    z: Tensor, slope: Tensor, need: Tensor, radius: Tensor, room: tuple[Tensor, Tensor], p: float
) -> Tensor:
    """The next change, [n, ...].

    Where the plane cannot be reached within the ball and the limits, a step toward it as long as both allow. In L0 the
    problem is not convex: what is found there is good, not always best.

    Args:
        z: the changes so far, [n, ...], between the limits.
        slope: b, the normal of the plane, [n, ...].
        need: how much b y must rise above b z, [n].
        radius: of the ball, [n].
        room: the limits of y, low <= 0 <= high, [n, ...].
        p: 0, 1, 2 or infinity.
    """
    shape, z, b, low, high = z.shape, z.flatten(1), slope.flatten(1), room[0].flatten(1), room[1].flatten(1)
    steep = norm(b, 2).clamp(min=torch.finfo(b.dtype).tiny)[:, None]
    b, need, radius = b / steep, need[:, None] / steep, radius[:, None]
    short = onto_plane(b, need[:, 0], (low - z, high - z), 2)
    length = norm(short, 2)[:, None]
    straight = z + short * (radius / length.clamp(min=radius)).nan_to_num(1.0)
    goal = (b * z).sum(1, keepdim=True) + need
    solve = _fewest if p == 0 else _smallest
    found = solve(z, z + short, b, goal, radius, (low, high), p)
    return torch.where(length < radius, found, straight).reshape(shape)


def _smallest(
    z: Tensor, short: Tensor, b: Tensor, goal: Tensor, radius: Tensor, room: tuple[Tensor, Tensor], p: float
) -> Tensor:
    """The smallest y in Linf, L2 or L1, by regula falsi (Illinois) on the weight of the ball between 0 and 1."""
    free = onto_plane(b, goal[:, 0], room, p)  # the ball does not count
    cut, multiple = _cut(z, free, short, room, p), torch.zeros_like(goal)
    left, right = torch.zeros_like(goal), torch.ones_like(goal)
    far, near = (norm(y - z, 2)[:, None] - radius for y in (free, short))
    on, last = far > CLOSE * radius, torch.zeros_like(goal, dtype=torch.bool)
    best = torch.where(on, short, free)
    for _ in range(TURNS):
        if not bool(on.any()):
            break
        weight = (left * near - right * far) / (near - far)
        y, multiple = _on_plane(partial(cut, weight), b, goal, multiple)
        beyond = norm(y - z, 2)[:, None] - radius
        inside = beyond <= CLOSE * radius
        best = torch.where(on & inside, y, best)
        on = on & (beyond.abs() > CLOSE * radius) & (right - left > 1e-12)
        # An end that stays twice has its value halved, or it would stay for ever.
        far = torch.where(inside, torch.where(last, far / 2, far), beyond)
        near = torch.where(inside, beyond, torch.where(last, near, near / 2))
        left, right, last = torch.where(inside, left, weight), torch.where(inside, weight, right), inside
    return best


def _cut(z: Tensor, free: Tensor, short: Tensor, room: tuple[Tensor, Tensor], p: float) -> Cut:
    """How y follows from the weight of the ball and a multiple of b, and which of its values follow that multiple."""
    low, high = room
    tallest, flattest = (norm(y, math.inf)[:, None] for y in (short, free))
    scale = norm(z, math.inf)[:, None]

    def cut(weight: Tensor, way: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = low, high
        if p == 2:
            ahead = weight * z + way
        elif p == 1:
            toll = scale * (1 - weight) / weight
            ahead = z + way
            ahead = ahead - torch.clamp(ahead, -toll, toll)
        else:
            height = weight * tallest + (1 - weight) * flattest
            lower, upper, ahead = low.maximum(-height), high.minimum(height), z + way
        moves = (ahead > lower) & (ahead < upper)
        return ahead.clamp(lower, upper), (moves & (ahead != 0) if p == 1 else moves).to(z.dtype)

    return cut


def _on_plane(
    cut: Callable[[Tensor], tuple[Tensor, Tensor]], b: Tensor, goal: Tensor, multiple: Tensor
) -> tuple[Tensor, Tensor]:
    """The y with b y = goal, and its multiple of b, by Newton's method between the bounds that are known so far."""
    least, most = torch.full_like(goal, -torch.inf), torch.full_like(goal, torch.inf)
    exact = 64 * torch.finfo(b.dtype).eps * (goal.abs() + norm(b, 1)[:, None])
    for _ in range(TURNS):
        y, moves = cut(multiple * b)
        miss = goal - (b * y).sum(1, keepdim=True)
        on = miss.abs() > exact
        if not bool(on.any()):
            break
        least, most = torch.where(miss > 0, multiple, least), torch.where(miss < 0, multiple, most)
        ahead = multiple + miss / (b * b * moves).sum(1, keepdim=True)
        middle = torch.where(most - least < torch.inf, (least + most) / 2, 2 * multiple + miss.sign())
        multiple = torch.where(on, torch.where((ahead > least) & (ahead < most), ahead, middle), multiple)
    return y, multiple


def _fewest(
    z: Tensor, short: Tensor, b: Tensor, goal: Tensor, radius: Tensor, room: tuple[Tensor, Tensor], p: float
) -> Tensor:
    """A y of few values: as many of the largest of `short` as the plane and the ball need, the others back at 0."""
    low, high = room
    rank = short.abs().argsort(dim=1, descending=True, stable=True).argsort(dim=1)
    none, every = torch.zeros_like(rank[:, :1]), torch.full_like(rank[:, :1], z.shape[1])
    best = short
    for _ in range(math.ceil(math.log2(z.shape[1] + 1))):
        count = (none + every) // 2
        kept = (rank < count).to(z.dtype)
        start, slope = z * kept, b * kept
        need = goal - (slope * start).sum(1, keepdim=True)
        y = start + kept * onto_plane(slope, need[:, 0], (low - start, high - start), 2)
        missing = (goal - (b * y).sum(1, keepdim=True)).abs() > 1e-4 * (goal.abs() + need.abs())
        fits = ~missing & (norm(y - z, 2)[:, None] <= radius * (1 + CLOSE))
        best = torch.where(fits, y, best)
        none, every = torch.where(fits, none, count), torch.where(fits, count, every)
    bare = _filled(b, goal, room)
    fewer = (norm(bare, 0) < norm(best, 0))[:, None] & (norm(bare - z, 2)[:, None] <= radius * (1 + CLOSE))
    return torch.where(fewer, bare, best)


def _filled(b: Tensor, goal: Tensor, room: tuple[Tensor, Tensor]) -> Tensor:
    """The fewest values with which the plane is met from x, were there no ball: of greatest effect first."""
    edge = torch.where(b * goal.sign() > 0, room[1], room[0])
    still = torch.zeros_like(b)
    return edge * onto_plane(b * edge, goal[:, 0], (still, still + 1), 1)
