"""Proves bounds by cutting values at their bends, ever more of them: branch and bound over activations.

A ReLU whose input may have either sign lies between two lines; with the sign known it is a line itself. So an open
question is asked twice, of the inputs that put a value above its bend and of those that put it below, and so on. The
value to cut is the one whose lines lose most at its bend (Bunel et al., 2020, arXiv 1909.06588). How both halves are
bounded is said in `cuts.py`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio.certify.backward import Bounded
from struthio.certify.chosen import Chosen, tuned
from struthio.certify.cuts import Cuts
from struthio.certify.lines import Bent, Lines
from struthio.rows import Rows

FIRST, LATER, LAST = 20, 8, 60  # steps of Adam on a question, on each of its parts, and where no cut is left to make
MOST = 500  # parts a question
SURE = 1e-4  # of 1 + the size of a limit: by how much a bound in single precision must be above it to count
UNCUT, LOST = -1, -2  # in the place of a value to cut: none is left, or a point shows that the question is lost


@dataclass(frozen=True)
class Answer:
    """What a search found out.

    Attributes:
        lower: lower bounds on the values of the questions, [m].
        points: inputs [k, 1, ...] where the value of a question is not above its limit.
        parts: how many were bounded for each question, [m].
    """

    lower: Tensor
    points: Tensor
    parts: Tensor


@dataclass(frozen=True)
class Parts:
    """Parts of the regions of questions, all of the same number of cuts.

    Attributes:
        question: of each part, [k].
        bound: a lower bound on the question's value, [k].
        place: of the value to cut next, [k]; or UNCUT, or LOST.
        edge: where to cut it, [k].
        places: of the cuts that were made, as in `Cuts`, [k, cuts].
        edges: likewise.
        sides: likewise.
        multipliers: of the cuts, [k, cuts].
    """

    question: Tensor
    bound: Tensor
    place: Tensor
    edge: Tensor
    places: Tensor
    edges: Tensor
    sides: Tensor
    multipliers: Tensor

    def __len__(self) -> int:
        return len(self.question)

    def __getitem__(self, rows: Rows) -> Parts:
        return self._each(lambda value: value[rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Parts:
        return Parts(*(change(value) for value in vars(self).values()))

    def halves(self) -> Parts:
        """All parts with the value above its edge, then all with it below; they begin with what the whole has."""
        twice, one = self._each(lambda value: torch.cat([value, value])), torch.ones_like(self.edge)
        return replace(
            twice,
            places=torch.cat([twice.places, twice.place[:, None]], 1),
            edges=torch.cat([twice.edges, twice.edge[:, None]], 1),
            sides=torch.cat([twice.sides, torch.cat([one, -one])[:, None]], 1),
            multipliers=F.pad(twice.multipliers, (0, 1)),
        )


class Search:
    """Asks of a bounded network whether a . outputs is above a limit everywhere in the region of a row.

    Args:
        state: the network and its lines over whole regions.
        a: coefficients of the outputs, [m, classes].
        rows: the row that each question is about, [m].
        limits: of each question, [m].
    """

    def __init__(self, state: Bounded, a: Tensor, rows: Tensor, limits: Tensor) -> None:
        self.state, self.rows, self.limits = state, rows, limits
        self.a = a.reshape(len(a), *state.network.nodes[-1].shape)
        self.readers: dict[int, int] = {}  # from nodes whose values can be cut to the nonlinear ones that read them
        self.nodes: dict[int, range] = {}
        stop = 0
        for number, node in enumerate(state.network.nodes):
            if isinstance(node.relaxation, Bent) and node.sources[0] not in self.readers:
                start, stop = stop, stop + node.shape.numel()
                self.readers[node.sources[0]], self.nodes[node.sources[0]] = number, range(start, stop)
        self.slopes: dict[int, Tensor] = {}  # of the questions, with which those of their parts begin
        self.points: list[Tensor] = []

    @torch.no_grad()
    def run(self, most: int = MOST, until: float = math.inf) -> Answer:
        """Cut until every question of a row is answered, the hardest first, or one of them is lost.

        Args:
            most: parts a question.
            until: when to stop, on the clock of `time.perf_counter`.
        """
        every, none = torch.arange(len(self.a), device=self.a.device), self.a.new_zeros(len(self.a), 0)
        least = torch.full_like(self.limits, -torch.inf)
        roots = self._bounded(Parts(every, least, every, least, none.long(), none, none, none), FIRST, until)
        lower, count, gaps = roots.bound.clone(), torch.ones_like(every), roots.bound - self.limits
        waiting = (gaps <= 0) & ~self._alike((gaps <= 0) & (roots.place == LOST))
        while bool(waiting.any()):
            hardest = gaps.new_full((int(self.rows.max()) + 1,), torch.inf)
            hardest.scatter_reduce_(0, self.rows[waiting], gaps[waiting], "amin")
            turn = waiting & (gaps == hardest[self.rows])
            self._cut(roots[turn], lower, count, most, until)
            waiting &= ~turn & ~self._alike(turn & (lower <= self.limits))
        return Answer(lower, torch.cat([self.state.region.x[:0], *self.points]), count)

    def _alike(self, questions: Tensor) -> Tensor:
        """The questions that are about the rows of these, bool [m]."""
        return torch.isin(self.rows, self.rows[questions])

    def _cut(self, parts: Parts, lower: Tensor, count: Tensor, most: int, until: float) -> None:
        """Cut what is whole until it is answered or lost, and note its bounds and the number of its parts."""
        lower[parts.question] = torch.inf
        while len(parts):
            final = (parts.bound <= self.limits[parts.question]) & (parts.place == UNCUT)
            parts.bound[final] = self._bounded(parts[final], LAST, until).bound
            done = parts.bound > self.limits[parts.question]
            over = (count[parts.question] > most) | (time.perf_counter() > until)
            lost = torch.zeros_like(count, dtype=torch.bool)
            lost[parts.question[~done & (over | (parts.place < 0))]] = True
            left = ~done & ~self._alike(lost)[parts.question]
            lower.scatter_reduce_(0, parts.question[~left], parts.bound[~left], "amin")
            parts = self._bounded(parts[left].halves(), LATER, until)
            count.index_add_(0, parts.question, torch.ones_like(parts.question))

    def _bounded(self, parts: Parts, steps: int, until: float) -> Parts:
        """The parts with bounds of their own, as far as there is time."""
        size = max(1, self.state.values // (8 * self.state.network.widest))
        slopes: list[dict[int, Tensor]] = []
        done = [parts[:0]]
        for at in range(0, len(parts), size):
            some = parts[at : at + size]
            done.append(self._tuned(some, steps, slopes) if time.perf_counter() <= until else some)
        if not self.slopes and slopes:
            self.slopes = {node: torch.cat([own[node] for own in slopes]) for node in slopes[0]}
        return Parts(*map(torch.cat, zip(*(vars(some).values() for some in done), strict=True)))

    def _tuned(self, parts: Parts, steps: int, slopes: list[dict[int, Tensor]]) -> Parts:
        """The parts with the best bounds that Adam finds, and what to cut next; the slopes are added to those given."""
        own, cuts = parts.question, Cuts(self.nodes, parts.places, parts.edges, parts.sides)
        a, every, end = self.a[own], torch.arange(len(parts), device=self.a.device), len(self.state.network.nodes) - 1
        quick = self.state.single.part(self.rows[own], cuts)
        chosen = Chosen({node: value[own] for node, value in self.slopes.items()}, parts.multipliers.float())
        enough = self.limits[own] + SURE * (1 + self.limits[own].abs())
        found = tuned(lambda chosen: quick.below(end, a, every, chosen), steps, chosen, enough)
        slopes.append(found.slopes)
        found, state, met = found.to(a), self.state.part(self.rows[own], cuts), dict[int, Tensor]()
        line, constant = state.walk(end, a, every, found, met)
        least, points = state.region.least(line, every)
        false = (a * state.network.values(points)[-1]).flatten(1).sum(1) <= self.limits[own]
        self.points.append(points[false])
        place, edge = self._next(state, met)
        assert found.multipliers is not None
        return replace(
            parts, bound=torch.maximum(parts.bound, constant + least), place=place.where(~false, LOST), edge=edge,
            multipliers=found.multipliers,
        )  # fmt: skip

    def _next(self, state: Bounded, met: dict[int, Tensor]) -> tuple[Tensor, Tensor]:
        """The value whose lines lose most at its bend, [k], or UNCUT; and that bend."""
        losses, bends = [self.a.new_full((len(state.region), 1), -1.0)], [self.a.new_zeros(len(state.region), 1)]
        for node, number in self.readers.items():
            relaxation, lines = state.network.nodes[number].relaxation, state.enclosures[number]
            edges = state.intervals[node]
            assert isinstance(relaxation, Bent)
            assert isinstance(lines, Lines)
            bend = relaxation.bend(*edges)
            loss = lines.loss(bend, relaxation(bend), met[number]).clamp(min=0)
            losses.append(torch.where(relaxation.uncertain(*edges), loss, -1.0).flatten(1))
            bends.append(bend.flatten(1))
        most, place = torch.cat(losses, 1).max(1)
        return torch.where(most < 0, UNCUT, place - 1), torch.cat(bends, 1).gather(1, place[:, None]).flatten()
