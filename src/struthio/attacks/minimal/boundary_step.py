"""One step along a boundary: of the points on a plane and in a ball around where a row is, the one nearest to x.

The problem: min ||y||_p with b (y - z) = need, ||y - z||_2 <= radius and low <= y <= high, where z is the change so far
and y the next. Given how much the ball counts against the size of y, and given a multiple of b, each value of y is
found by itself (`boundary_ball`); the multiple is the root of a function that never falls, and so is the weight.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from struthio.attacks.minimal.boundary_ball import Ball
from struthio.rows import norm
from struthio.threats.projections import onto_plane

CLOSE = 1e-3  # by what share of the radius a point may lie off the ball
TURNS = 40  # by far enough


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
    like, (z, b, low, high) = z, (part.flatten(1).double() for part in (z, slope, *room))
    steep = norm(b, 2).clamp(min=torch.finfo(b.dtype).tiny)[:, None]
    b, need, radius = b / steep, need[:, None] / steep, radius[:, None].double()
    short = onto_plane(b, need[:, 0], (low - z, high - z), 2)
    length = norm(short, 2)[:, None]
    straight = z + short * (radius / length.clamp(min=radius)).nan_to_num(1.0)
    goal = (b * z).sum(1, keepdim=True) + need
    found = z + short
    on = (length < radius)[:, 0].nonzero().flatten()
    if len(on):
        solve = _fewest if p == 0 else _smallest
        near = solve(z[on], found[on], b[on], goal[on], radius[on], (low[on], high[on]), p)
        found = found.index_copy(0, on, near)
    return torch.where(length < radius, found, straight).reshape(like.shape).to(like.dtype)


def _smallest(
    z: Tensor, short: Tensor, b: Tensor, goal: Tensor, radius: Tensor, room: tuple[Tensor, Tensor], p: float
) -> Tensor:
    """The smallest y in Linf, L2 or L1, by Newton's method on the weight of the ball, which is between 0 and 1."""
    free = onto_plane(b, goal[:, 0], room, p)  # the ball does not count
    far, near = (norm(y - z, 2)[:, None] - radius for y in (free, short))
    best = torch.where(far > CLOSE * radius, short, free)
    rows = ((far > CLOSE * radius) & (near < -CLOSE * radius))[:, 0].nonzero().flatten()
    tallest, flattest = (norm(y, math.inf)[:, None] for y in (short, free))
    flattest = flattest.maximum(norm(z, math.inf)[:, None] - radius)  # nothing in the ball is flatter
    ball = Ball(p, z, b, b.square(), goal, radius, *room, flattest, tallest)[rows]
    left, right, multiple = ball.radius * 0, ball.radius * 0 + 1, ball.radius * 0
    far, near = far[rows].minimum(ball.radius), near[rows]
    weight = far / (far - near)
    for _ in range(TURNS):
        if not len(rows):
            break
        y, moves, multiple = ball.at(weight).on_plane(multiple)
        beyond = norm(y - ball.z, 2)[:, None] - ball.radius
        inside = beyond <= CLOSE * ball.radius
        best[rows] = torch.where(inside, y, best[rows])
        left, right = torch.where(inside, left, weight), torch.where(inside, weight, right)
        ahead, there = ball.onto(weight, multiple, y, moves)
        fits = (ahead > left) & (ahead < right)
        weight, multiple = torch.where(fits, ahead, (left + right) / 2), torch.where(fits, there, multiple)
        on = ((beyond.abs() > CLOSE * ball.radius) & (weight > left) & (weight < right))[:, 0].nonzero().flatten()
        rows, ball = rows[on], ball[on]
        left, right, weight, multiple = (part[on] for part in (left, right, weight, multiple))
    return best


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
    bare = onto_plane(b, goal[:, 0], room, 0)  # from x, were there no ball
    fewer = (norm(bare, 0) < norm(best, 0))[:, None] & (norm(bare - z, 2)[:, None] <= radius * (1 + CLOSE))
    return torch.where(fewer, bare, best)
