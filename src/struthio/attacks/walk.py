"""The walk along the boundary: what all attacks share that see labels alone. A start that wins, the way back to the
boundary, the slope of the boundary from probes; every question is counted and the smallest win is kept.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from struthio.attacks.places import innermost
from struthio.attacks.queries.windows import as_pictures
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row, where_rows
from struthio.types import Goal, Threat

TRIES = 1000  # of noise, until a row is given up
PROBES = 2**15  # numbers that are drawn at once for a row
ASKED = 2**18  # numbers in one question to the model: 334 digits; more at once are slower on a processor


class Walk:
    """A batch on its way. Rows are named by their number in the batch and asked only about what they can pay.

    Attributes:
        task: the rows, and a threat of any size: a win beyond the radius is a way to a nearer one.
        found: the smallest win of each row.
        left: how many questions each row may still ask, int64 [n]; one more is kept for the judge.

    Args:
        queries: the most questions a row.
    """

    def __init__(
        self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator, queries: int
    ) -> None:
        if getattr(threat, "p", None) is None:
            raise UserError(
                f"{type(threat).__name__} has no norm, and this attack walks among inputs around x. Take "
                "L2() or Linf(); for rotations and shifts there is SpatialSearch()."
            )
        self.task = replace(Task.whole(model, x, goal, threat, generator), threat=threat.at(math.inf))
        self.threat, self.found = threat, Smallest(x)
        self.left = torch.full((len(x),), queries, device=x.device)
        if model.left is not None:
            self.left = self.left.minimum(model.left - 1).clamp(min=0)

    def ask(self, rows: Tensor, points: Tensor, radius: Tensor | float = math.inf) -> tuple[Tensor, Tensor]:
        """Whether points near x win, bool [k * m], and the inputs that the model saw; see `look`."""
        won, seen, _ = self.look(rows, points, radius)
        return won, seen

    @torch.no_grad()
    def look(self, rows: Tensor, points: Tensor, radius: Tensor | float = math.inf) -> tuple[Tensor, Tensor, Tensor]:
        """Ask about points near x, brought within a radius and the limits.

        Args:
            rows: which rows, [m].
            points: as inputs, [k * m, ...]: all rows, all rows, ...
            radius: one number, or one a point [k * m].

        Returns:
            Whether each wins, bool [k * m], the inputs that the model saw, and its outputs.
        """
        task, crowd = self.task, rows.repeat(len(points) // len(rows))
        x, threat = task.x[crowd], task.threat[crowd].at(radius)
        seen = threat.apply(x, threat.project(x, points - x))
        outputs = task.model[rows](seen)
        won = task.goal[crowd].success(outputs)
        self.left[rows] -= len(points) // len(rows)
        self._keep(rows, seen, threat.size(x, seen).masked_fill(~won, torch.inf))
        return won, seen, outputs

    def _keep(self, rows: Tensor, seen: Tensor, size: Tensor) -> None:
        least, which = size.reshape(-1, len(rows)).min(0)
        some = least.isfinite().nonzero().flatten()
        best = seen[which[some] * len(rows) + some]
        self.found.offer(rows[some], best, least[some], torch.ones_like(least[some]), least[some].isfinite())

    def size(self, rows: Tensor, points: Tensor) -> Tensor:
        """How far points [m, ...] are from these rows of x, [m]."""
        return self.task.threat[rows].size(self.task.x[rows], points)

    def end(self) -> Tensor:
        """The smallest wins, [n, ...], within the threat; x itself where nothing won."""
        return self.found.inside(self.task.x, self.threat)

    def first(self) -> Tensor:
        """Ask about x itself; the rows that are not won by it."""
        return self._lost(self._paying(torch.arange(len(self.task), device=self.left.device)), self.task.x)

    def begin(self, start: Tensor | None = None, tries: int = TRIES) -> Tensor:
        """Ask about x, then about the start given, then about noise; the rows that have something to walk back from.

        Args:
            start: inputs [n, ...] for all rows of the call, or what can be expanded to them; such that lose are not
                used.
            tries: how often noise is asked about, until a row is given up.
        """
        task, rows = self.task, self.first()
        if start is not None:
            rows = self._lost(rows, self._given(start))
        generator = task.generator.fold(0)
        for turn in range(tries):
            if not len(rows):
                break
            noise = torch.empty_like(task.x)
            noise[rows] = _noise(task[rows], generator.fold(turn)[rows], turn)
            rows = self._lost(rows, noise)
        return self._paying((self.found.won & (self.found.size > 0)).nonzero().flatten())

    def _given(self, start: Tensor) -> Tensor:
        """The starts of these rows among those of the whole call."""
        wanted = (len(self.task.model.forwards), *self.task.x.shape[1:])
        try:
            return start.to(self.task.x).expand(wanted)[self.task.model.ids]
        except RuntimeError as error:
            raise UserError(
                f"start has shape {tuple(start.shape)}, but the call has inputs of shape {wanted}. One start a row is "
                "needed, in the order of the rows, or one that can be expanded to them."
            ) from error

    def _lost(self, rows: Tensor, points: Tensor) -> Tensor:
        """Ask some rows about their points among [n, ...]; those that lost and can ask again."""
        return self._paying(rows[~self.ask(rows, points[rows])[0]]) if len(rows) else rows

    def _paying(self, rows: Tensor) -> Tensor:
        return rows[self.left[rows] > 0]

    def back(self, rows: Tensor, points: Tensor, tolerance: Tensor, along: Tensor | None = None) -> Tensor:
        """From wins towards x until the boundary lies within a tolerance [m], by halving the radius of a ball around x
        onto which they are projected: a straight line in L2, a cut of the largest changes in Linf.

        Args:
            rows: which rows, [m].
            points: inputs that won, [m, ...].
            tolerance: of the radius, [m].
            along: points whose projections are asked about, if not these; at the same radius they must win too.
        """
        along, high = points if along is None else along, self.size(rows, points)
        low, edge = torch.zeros_like(high), points.clone()
        tolerance = tolerance.maximum(8 * torch.finfo(high.dtype).eps * high)  # finer than that, halving has no end
        while True:
            apart = ((high - low > tolerance) & (self.left[rows] > 0)).nonzero().flatten()
            if not len(apart):
                return edge
            middle = (low[apart] + high[apart]) / 2
            won, seen = self.ask(rows[apart], along[apart], middle)
            high[apart], low[apart] = torch.where(won, middle, high[apart]), torch.where(won, low[apart], middle)
            edge[apart] = where_rows(won, seen, edge[apart])

    def leap(self, rows: Tensor, points: Tensor, slope: Tensor, length: Tensor) -> Tensor:
        """From wins the step of this length [m] that gains most along a slope, halved until it wins; where the
        questions end first, no step.
        """
        x = self.task.x[rows]
        step = self.task.threat[rows].steepest(x, points - x, slope)
        ahead, length = points.clone(), length.clone()
        trying = torch.arange(len(rows), device=rows.device)
        while len(trying):
            won, seen = self.ask(rows[trying], points[trying] + per_row(length[trying], points) * step[trying])
            ahead[trying[won]] = seen[won]
            length[trying] /= 2
            trying = trying[~won & (self.left[rows[trying]] > 0)]
        return ahead

    def slope(
        self, rows: Tensor, points: Tensor, delta: Tensor, counts: Tensor, draw: Callable[[int], Tensor]
    ) -> Tensor:
        """The way from the boundary into the winning side: the mean of random probes, each weighed by whether it wins.

        The share of wins is taken off the weights, which makes the mean steadier (Chen, Jordan, Wainwright, 2020).

        Args:
            rows: which rows, [m].
            points: on the boundary, [m, ...].
            delta: how far from them the probes are, [m].
            counts: how many probes each row asks about, int64 [m].
            draw: given k, gives k probes for each row, [k, m, ...].

        Returns:
            The way, [m, ...], of no particular length.
        """
        every, wins = torch.zeros_like(points), torch.zeros_like(points)
        won = torch.zeros_like(delta)
        once, most = max(1, PROBES // points[0].numel()), int(counts.max())
        for done in range(0, most, once):
            probes = draw(once)
            for lower, upper, some in _shifts((counts - done).clamp(0, once)):
                for part in probes[lower:upper, some].split(max(1, ASKED // points[some].numel())):
                    asked = points[some] + per_row(delta[some], points) * part
                    hit, seen = self.ask(rows[some], asked.flatten(0, 1))
                    moved = seen.reshape(part.shape) - points[some]
                    weight = hit.reshape(part.shape[:2]).to(moved.dtype)
                    every[some] += moved.sum(0)
                    wins[some] += torch.einsum("km,kmd->md", weight, moved.flatten(2)).reshape(every[some].shape)
                    won[some] += weight.sum(0)
        share = per_row(won / counts, points)
        return torch.where(share == 0, -every, torch.where(share == 1, every, wins - share * every))


def _shifts(due: Tensor) -> list[tuple[int, int, Tensor]]:
    """Numbers of probes due, one a row, as shifts (from, to, who) in each of which some rows ask equally many."""
    steps = [0, *due[due > 0].unique().tolist()]
    return [(lower, upper, (due >= upper).nonzero().flatten()) for lower, upper in itertools.pairwise(steps)]


def span(threat: Threat, x: Tensor) -> tuple[Tensor, Tensor]:
    """The lowest and highest inputs, [n, ...]; without limits, far on both sides of x."""
    box = getattr(innermost(threat), "box", None)
    if box is None:
        far = 10 * per_row(1 + norm(x, math.inf), x)
        return x - far, x + far
    return tuple(torch.as_tensor(edge).to(x).expand_as(x) for edge in (box.low, box.high))  # type: ignore[return-value]


def _noise(task: Task, generator: RowGenerator, turn: int) -> Tensor:
    """Uniform noise between the limits; each next turn in patches of twice the side, until they fill the picture."""
    pictures = as_pictures(task.x)
    c, h, w = pictures.shape[1:]
    side = 2 ** (turn % (math.ceil(math.log2(max(h, w))) + 1))
    coarse = generator.uniform((c, math.ceil(h / side), math.ceil(w / side)), task.x.dtype)
    fine = coarse.repeat_interleave(side, 2)[:, :, :h].repeat_interleave(side, 3)[..., :w].reshape(task.x.shape)
    low, high = span(task.threat, task.x)
    return low + fine * (high - low)
