"""One step along a boundary: of the points on a plane and in a ball around where a row is, the one nearest to x.

The problem: min ||y||_p with b (y - z) = need, ||y - z||_2 <= radius and low <= y <= high, where z is the change so far
and y the next. Given how much the ball counts against the size of y, and given a multiple of b, each value of y is
found by itself; the multiple is the root of a function that never falls, and so is the weight of the ball.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.rows import norm
from struthio.threats.projections import onto_plane

CLOSE = 1e-3  # by what share of the radius a point may lie off the ball
EXACT = 1e-9  # by what share of a plane's height a point may lie beside it
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


@dataclass(frozen=True)
class _Ball:
    """The problem of some rows, a row each, [m, d] and [m, 1]: how y follows from the weight and a multiple of b."""

    p: float
    z: Tensor
    b: Tensor
    goal: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor
    flattest: Tensor
    tallest: Tensor

    def __getitem__(self, rows: Tensor) -> _Ball:
        tensors = [field.name for field in dataclasses.fields(self) if field.name != "p"]
        return dataclasses.replace(self, **{name: getattr(self, name)[rows] for name in tensors})

    def cut(self, weight: Tensor, multiple: Tensor) -> tuple[Tensor, Tensor]:
        """The y of a weight of the ball and a multiple of b, and which of its values follow that multiple."""
        lower, upper, way = self.low, self.high, multiple * self.b
        if self.p == 2:
            ahead = weight * self.z + way
        elif self.p == 1:
            toll = self.radius * (1 - weight) / weight
            ahead = self.z + way
            ahead = ahead - torch.clamp(ahead, -toll, toll)
        else:
            height = weight * self.tallest + (1 - weight) * self.flattest
            lower, upper, ahead = lower.maximum(-height), upper.minimum(height), self.z + way
        moves = (ahead > lower) & (ahead < upper)
        return ahead.clamp(lower, upper), (moves & (ahead != 0) if self.p == 1 else moves).to(ahead.dtype)


def _smallest(
    z: Tensor, short: Tensor, b: Tensor, goal: Tensor, radius: Tensor, room: tuple[Tensor, Tensor], p: float
) -> Tensor:
    """The smallest y in Linf, L2 or L1, by regula falsi (Illinois) on the weight of the ball between 0 and 1."""
    free = onto_plane(b, goal[:, 0], room, p)  # the ball does not count
    far, near = (norm(y - z, 2)[:, None] - radius for y in (free, short))
    best = torch.where(far > CLOSE * radius, short, free)
    rows = ((far > CLOSE * radius) & (near < -CLOSE * radius))[:, 0].nonzero().flatten()
    tallest, flattest = (norm(y, math.inf)[:, None] for y in (short, free))
    flattest = flattest.maximum(norm(z, math.inf)[:, None] - radius)  # nothing in the ball is flatter
    ball = _Ball(p, z, b, goal, radius, *room, flattest, tallest)[rows]
    far, near = far[rows].minimum(radius[rows]), near[rows]
    left, right, multiple, last = far * 0, far * 0 + 1, far * 0, far * 0
    for _ in range(TURNS):
        if not len(rows):
            break
        weight = (left * near - right * far) / (near - far)
        y, multiple = _on_plane(ball, weight, multiple)
        beyond = norm(y - ball.z, 2)[:, None] - ball.radius
        inside, side = beyond <= CLOSE * ball.radius, beyond.sign()
        best[rows] = torch.where(inside, y, best[rows])
        # An end that stays twice has its value halved, or it would stay for ever.
        half = torch.where(side == last, 0.5, 1.0)
        far, near = torch.where(inside, half * far, beyond), torch.where(inside, beyond, half * near)
        on = ((beyond.abs() > CLOSE * ball.radius) & (weight > left) & (weight < right))[:, 0].nonzero().flatten()
        left, right = torch.where(inside, left, weight), torch.where(inside, weight, right)
        rows, ball = rows[on], ball[on]
        left, right, far, near, multiple, last = (part[on] for part in (left, right, far, near, multiple, side))
    return best


def _on_plane(ball: _Ball, weight: Tensor, multiple: Tensor) -> tuple[Tensor, Tensor]:
    """The y with b y = goal, and its multiple of b, by Newton's method between the bounds that are known so far."""
    least, most = torch.full_like(weight, -torch.inf), torch.full_like(weight, torch.inf)
    ends, found, rows = multiple.clone(), ball.z.clone(), torch.arange(len(weight), device=weight.device)
    exact = EXACT * (ball.goal.abs() + norm(ball.b, 1)[:, None])
    for _ in range(TURNS):
        y, moves = ball.cut(weight, multiple)
        found[rows], ends[rows] = y, multiple
        miss = ball.goal - (ball.b * y).sum(1, keepdim=True)
        least, most = torch.where(miss > 0, multiple, least), torch.where(miss < 0, multiple, most)
        ahead = multiple + miss / (ball.b * ball.b * moves).sum(1, keepdim=True)
        middle = torch.where(most - least < torch.inf, (least + most) / 2, 2 * multiple + miss.sign())
        ahead = torch.where((ahead > least) & (ahead < most), ahead, middle)
        on = ((miss.abs() > exact) & (ahead != multiple))[:, 0].nonzero().flatten()
        if not len(on):
            break
        multiple = ahead
        if len(on) < len(rows):
            rows, ball, exact, weight = rows[on], ball[on], exact[on], weight[on]
            least, most, multiple = least[on], most[on], multiple[on]
    return found, ends


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
