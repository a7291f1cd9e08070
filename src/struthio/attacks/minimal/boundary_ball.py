"""The points that a step along a boundary chooses from: y of a weight of the ball and of a multiple of the normal b."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import Self

import torch
from torch import Tensor
from torch.linalg import vecdot

from struthio.rows import norm

EXACT = 1e-9  # by what share of a plane's height a point may lie beside it
TURNS = 40  # of the search for a plane, by far enough
HARD = 5  # after so many of them, and so many more, a root is found by sorting


class _Rows:
    """Tensors of one row each, [m, d] or [m, 1]; other fields are the same for all."""

    def __getitem__(self, rows: Tensor) -> Self:
        parts = {name: part[rows] for name, part in vars(self).items() if isinstance(part, Tensor)}
        return dataclasses.replace(self, **parts)  # type: ignore[type-var]


@dataclass(frozen=True)
class Ball(_Rows):
    """What a step of some rows may do.

    Attributes:
        p: the norm in which y is to be small, 1, 2 or infinity.
        z: the changes so far, [m, d].
        b: the normal of the plane, [m, d].
        squares: of the normal's values, [m, d].
        goal: b y on the plane, [m, 1].
        radius: of the ball, [m, 1].
        low: the lower limits of y, [m, d].
        high: the upper limits.
        flattest: in Linf, the height at which y is cut where the ball does not count, [m, 1].
        tallest: and where it is all that counts.
    """

    p: float
    z: Tensor
    b: Tensor
    squares: Tensor
    goal: Tensor
    radius: Tensor
    low: Tensor
    high: Tensor
    flattest: Tensor
    tallest: Tensor

    def at(self, weight: Tensor) -> Line:
        """All y of a weight of the ball, [m, 1]: one for each multiple of b."""
        still, lower, upper, toll = self.z, self.low, self.high, None
        if self.p == 1:
            toll = self.radius * (1 - weight) / weight
        elif self.p == 2:
            still = weight * self.z
        else:
            height = self._height(weight)
            lower, upper = lower.maximum(-height), upper.minimum(height)
        return Line(self.b, self.squares, self.goal, still, lower, upper, toll)

    def onto(self, weight: Tensor, multiple: Tensor, y: Tensor, moves: Tensor) -> tuple[Tensor, Tensor]:
        """The weight and the multiple that would bring y, which is on the plane, to the ball, if the same values moved.

        They would do so along a line, and the ball asks for a root of a parabola.
        """
        pull = self._pull(weight, y, moves)
        share = vecdot(self.b, pull)[:, None] / vecdot(self.squares, moves)[:, None]
        line, off = pull - share * self.b * moves, y - self.z
        bend, fall = vecdot(line, line)[:, None], vecdot(line, off)[:, None]
        beyond = vecdot(off, off)[:, None] - self.radius.square()
        change = beyond / ((fall.square() - bend * beyond).clamp(min=0).sqrt() - fall)
        change = change.masked_fill(bend <= 1e-9 * vecdot(pull, pull)[:, None], torch.nan)  # the plane holds y still
        ahead = self.radius / (self.radius / weight - change) if self.p == 1 else weight + change
        return ahead, multiple - share * change

    def _pull(self, weight: Tensor, y: Tensor, moves: Tensor) -> Tensor:
        """How y follows the weight where the multiple stays; in L1, how it follows the toll as that falls."""
        if self.p == 2:
            return self.z * moves
        if self.p == 1:
            return y.sign() * moves
        return y.sign() * (y.abs() == self._height(weight)) * (self.tallest - self.flattest)

    def _height(self, weight: Tensor) -> Tensor:
        """In Linf, at which every value is cut."""
        return weight * self.tallest + (1 - weight) * self.flattest


@dataclass(frozen=True)
class Line(_Rows):
    """The y of one weight of the ball: `still` and a multiple of b, each value nearer to 0 by a toll, between limits.

    Attributes:
        b: the normal of the plane, [m, d].
        squares: of its values, [m, d].
        goal: b y on the plane, [m, 1].
        still: y at the multiple 0, before toll and limits, [m, d].
        lower: limits of y, [m, d].
        upper: likewise.
        toll: [m, 1]; None but in L1.
    """

    b: Tensor
    squares: Tensor
    goal: Tensor
    still: Tensor
    lower: Tensor
    upper: Tensor
    toll: Tensor | None

    def y(self, multiple: Tensor) -> tuple[Tensor, Tensor]:
        """The y of a multiple, and 1 where a value of y follows that, else 0."""
        ahead = torch.addcmul(self.still, multiple, self.b)
        if self.toll is not None:
            ahead = ahead - torch.clamp(ahead, -self.toll, self.toll)
        numbers = partial(torch.empty_like, ahead)  # on a processor, bool takes several times as long
        moves = torch.gt(ahead, self.lower, out=numbers()).mul_(torch.lt(ahead, self.upper, out=numbers()))
        if self.toll is not None:
            moves = moves.mul_(torch.ne(ahead, 0, out=numbers()))
        return ahead.clamp(self.lower, self.upper), moves

    def on_plane(self, multiple: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The y with b y = goal, which of its values move, and its multiple of b.

        Newton's method from the multiple given, between the bounds that are known so far.
        """
        line, rows = self, torch.arange(len(multiple), device=multiple.device)
        found, free, ends = torch.empty_like(self.b), torch.empty_like(self.b), torch.empty_like(multiple)
        least, most, short = torch.full_like(multiple, -torch.inf), torch.full_like(multiple, torch.inf), multiple
        exact = EXACT * (self.goal.abs() + norm(self.b, 1)[:, None])
        for turn in range(TURNS):
            y, moves = line.y(multiple)
            miss = line.goal - vecdot(line.b, y)[:, None]
            below = miss > 0
            least, short = torch.where(below, multiple, least), torch.where(below, miss, short)
            most = torch.where(below, most, multiple)
            between = (least + most) / 2 if (turn + 1) % HARD else line._root(least, most, short)
            beyond = multiple + miss.sign() * (1 + 2 * multiple.abs())
            ahead = multiple + miss / vecdot(line.squares, moves)[:, None]
            safe = torch.where(between.isfinite(), between, beyond)
            ahead = torch.where((ahead > least) & (ahead < most), ahead, safe)
            on = (miss.abs() > exact) & (ahead != multiple) & (turn + 1 < TURNS)
            stay = on[:, 0].nonzero().flatten()
            if 2 * len(stay) <= len(rows):  # to leave rows behind costs more than some turns with them
                found[rows], free[rows], ends[rows] = y, moves, multiple
                if not len(stay):
                    break
                rows, line, exact, on = rows[stay], line[stay], exact[stay], on[stay]
                least, most, short, ahead, multiple = (v[stay] for v in (least, most, short, ahead, multiple))
            multiple = torch.where(on, ahead, multiple)
        return found, free, ends

    def _root(self, least: Tensor, most: Tensor, short: Tensor) -> Tensor:
        """The multiple between these two at which b y has risen by `short`; where values start and stop is sorted."""
        ways = [(self.lower, self.upper)]
        if self.toll is not None:
            ways = [(self.lower - self.toll, -self.toll), (self.toll, self.upper + self.toll)]
        ends = torch.stack([(end - self.still) / self.b for way in ways for end in way]).unflatten(0, (-1, 2))
        ends = torch.cat([*ends.amin(1), *ends.amax(1)], 1).nan_to_num(0.0).clamp(least, most)
        ends, order = ends.sort(dim=1)
        pace = torch.cat([self.squares] * len(ways) + [-self.squares] * len(ways), 1).gather(1, order).cumsum(1)
        rise = torch.cat([0 * short, (pace[:, :-1] * ends.diff(dim=1)).cumsum(1)], 1)
        place = (rise[:, 1:] < short).sum(1, keepdim=True)
        return ends.gather(1, place) + (short - rise.gather(1, place)) / pace.gather(1, place)
