"""Sparse-RS with patches: squares inside a patch take other colours, and now and then the patch moves, if it helps."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable, climb
from struthio.attacks.places import innermost, limits
from struthio.attacks.queries.square import HALVINGS
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, where_rows
from struthio.threats import Patch
from struthio.threats.patch import rectangle
from struthio.types import Goal, Loss, State, Threat

FIRST = 1000  # squares at most that the first patch is painted with
WIDEST = 0.75  # of the picture's sides: how far a patch moves at first; it falls to nothing over the questions


@dataclass(frozen=True)
class SparseRSPatch(Attack):
    """Random search for the content and the place of a patch: Sparse-RS with patches, one for each picture.

    Values in the patch are the lowest or the highest allowed. Most proposals give a square inside the patch one new
    colour, and squares shrink from `alpha_init` of the patch to single pixels; from halfway between the first single
    pixels and the end, one channel of one pixel changes. Every `period`-th proposal moves the patch. Each row has its
    own squares; the published code shares them in a batch. What would change nothing is asked about with the opposite
    colours instead.

    Args:
        queries: the most questions a row.
        alpha_init: the share of the patch that the first square covers.
        period: after how many proposals the patch moves; the paper takes 10 for a target.
        loss: what has to rise; the paper takes CrossEntropy() for a target.
    """

    paper: ClassVar[str] = "Croce, Andriushchenko, Singh, Flammarion, Hein, 2022, arXiv 2006.12834"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("patch",)

    queries: int = 10_000
    alpha_init: float = 0.4
    period: int = 4
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.share(self.alpha_init, "alpha_init")
        checks.count(self.period, "period", 2)

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat is no Patch."""
        super().fits(threat)
        if not isinstance(innermost(threat), Patch):
            raise UserError(f"SparseRSPatch paints a patch; the threat is {type(threat).__name__}. Take Patch(5, 5).")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best patch."""
        check_finite(threat)
        return climb(model, x, goal, threat, generator, queries=self.queries, rule=self, loss=self.loss)

    def start(self, task: Task) -> State:
        """A patch somewhere, painted with random squares; what is proposed becomes the best only where it helps."""
        patch = _patch(task)
        high, wide = patch.sides(task.x)
        top, left, bottom, right = patch.frame(task.x)
        spare = torch.stack([bottom - top - high, right - left - wide], 1)
        lot = task.generator.uniform((2,), torch.float64)
        place = (lot * (spare + 1)).long() + torch.tensor([top, left], device=lot.device)
        content = _painted(task, high, wide, (bottom - top, right - left))
        state = {"high": high, "wide": wide, "spare": spare, "free": changeable(task)}
        return {**state, "place": place, "content": content, "next place": place, "next content": content}

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """The first patch, then the best one with another square or in another place."""
        if query > 0:
            place = self._moved(task, state, query) if query % self.period == 0 else state["place"]
            moved = (place != state["place"]).any(1)
            content = where_rows(moved, state["content"], self._repainted(task, state, query))
            state = {**state, "next place": place, "next content": content}
        return _pasted(task, state), state

    def learn(self, state: State, rose: Tensor) -> State:
        """Keep what helped."""
        kept = {name: where_rows(rose, state[f"next {name}"], state[name]) for name in ("place", "content")}
        return {**state, **kept}

    def _moved(self, task: Task, state: State, query: int) -> Tensor:
        """A place nearby, at most so many pixels away as is allowed by now."""
        sides = torch.tensor(task.x.shape[2:], device=task.x.device)
        far = (WIDEST * (1 - query / self.queries) * sides).long()
        way = (task.generator.uniform((2,), torch.float64) * (2 * far + 1)).long() - far
        first = torch.tensor(_patch(task).frame(task.x)[:2], device=task.x.device)
        return (state["place"] + way).maximum(first).minimum(first + state["spare"])

    def _repainted(self, task: Task, state: State, query: int) -> Tensor:
        """The content with one square of a new colour, or at last with one channel of a pixel turned over."""
        content, high, wide = state["content"], state["high"], state["wide"]
        low, top = _ends(task)
        side = (self._share(query - 1) * high * wide).sqrt().long().clamp(min=1)
        down, across = torch.minimum(side, high), torch.minimum(side, wide)
        lot = task.generator.uniform((2,), torch.float64)
        square = rectangle(content, *_at(lot, high - down, wide - across), down, across) == 1
        colour = torch.where(task.generator.integers(2, (content.shape[1], 1, 1)) == 1, top, low)
        painted = torch.where(square, colour, content)
        same = (painted == content).flatten(1).all(1)
        painted = torch.where(square & same[:, None, None, None], low + top - content, painted)
        channel = torch.arange(content.shape[1], device=content.device)[:, None, None]
        chosen = task.generator.integers(content.shape[1])[:, None, None, None] == channel
        late = query - 1 >= (self._single(high * wide) + self.queries) / 2
        return where_rows(late, torch.where(square & chosen, low + top - content, content), painted)

    def _share(self, query: int) -> float:
        """Alpha, the share of the patch that a square covers."""
        count = query * 10_000 // self.queries
        return self.alpha_init / 2.0 ** sum(count > mark for mark in HALVINGS)

    def _single(self, area: Tensor) -> Tensor:
        """After how many questions squares are single pixels, [n]; infinite where they never are."""
        found = torch.full(area.shape, torch.inf, device=area.device)
        for halvings, mark in reversed(list(enumerate((0, *HALVINGS)))):
            small = self.alpha_init / 2.0**halvings * area < 4
            found = torch.where(small, mark * self.queries / 10_000, found)
        return found


def _patch(task: Task) -> Patch:
    return innermost(task.threat)  # type: ignore[return-value]  # as `fits` has seen


def _ends(task: Task) -> tuple[Tensor, Tensor]:
    """The lowest and the highest values, as rows of x or what broadcasts to them."""
    box = limits(task.threat)
    return torch.as_tensor(box.low).to(task.x), torch.as_tensor(box.high).to(task.x)


def _at(lot: Tensor, *spare: Tensor) -> tuple[Tensor, Tensor]:
    """A whole number from 0 to each of the two numbers a row, from a lot [n, 2]."""
    down, across = (torch.stack(spare, 1) + 1).mul(lot).long().unbind(1)
    return down, across


def _painted(task: Task, high: Tensor, wide: Tensor, frame: tuple[int, int]) -> Tensor:
    """Pixels of random colours, and over them random squares of up to the root of the patch's side.

    The canvas [n, c, *frame] is as large as any patch may be, so that a row's colours do not depend on other rows'
    radii.
    """
    low, top = _ends(task)
    c, count = task.x.shape[1], min(FIRST, math.prod(frame))
    colours = torch.where(task.generator.integers(2, (count, c, 1, 1)) == 1, top, low)
    content = torch.where(task.generator.integers(2, (c, *frame)) == 1, top, low)
    lot = task.generator.uniform((count, 3), torch.float64)
    most = (torch.minimum(high, wide).sqrt().ceil() - 1).clamp(min=1)
    for turn in range(count):
        side = 1 + (lot[:, turn, 2] * most).long()
        place = _at(lot[:, turn, :2], high - side, wide - side)
        content = torch.where(rectangle(content, *place, side, side) == 1, colours[:, turn], content)
    return content


def _pasted(task: Task, state: State) -> Tensor:
    """The change of x that puts the patch in its place."""
    x, content = task.x, state["next content"]
    (top, left), (h, w) = state["next place"].unbind(1), x.shape[2:]
    down = (torch.arange(h, device=x.device) - top[:, None]).clamp(0, content.shape[2] - 1)
    across = (torch.arange(w, device=x.device) - left[:, None]).clamp(0, content.shape[3] - 1)
    lines = content.gather(2, down[:, None, :, None].expand(-1, x.shape[1], -1, content.shape[3]))
    whole = lines.gather(3, across[:, None, None, :].expand(-1, x.shape[1], h, -1))
    covered = (rectangle(x, top, left, state["high"], state["wide"]) == 1) & state["free"]
    return torch.where(covered, whole - x, 0.0)
