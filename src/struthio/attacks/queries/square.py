"""Square Attack: random squares of noise, smaller and smaller, each kept where it raises the score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.climb import climb
from struthio.attacks.places import changes_values
from struthio.attacks.queries.windows import as_pictures, pyramids, sides, signs, window, windows
from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm, per_row
from struthio.types import Goal, Loss, State, Threat

AHEAD = 64  # questions whose random numbers are drawn at once
HALVINGS = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)  # questions of 10,000 after which squares halve in area


@dataclass(frozen=True)
class Square(Attack):
    """Random search with squares: Square Attack in Linf, L2 and L1.

    In Linf a square gets +eps or -eps in each channel. In L2 two windows give up their change, and one of them gets a
    pair of pyramids with all of it; L1 does the same with absolute sums (Croce, Hein, 2021, arXiv 2103.01208). Each row
    has its own windows and they reach every pixel; the published code shares one window in a batch and leaves out the
    last line and column. A square that would change nothing is asked about with the opposite signs.

    Args:
        queries: the most questions a row.
        p_init: the share of the picture that the first square covers.
        rescale_schedule: shrink the squares over `queries` instead of over 10,000 questions; the standard AutoAttack
            does not.
        loss: what has to rise; the paper takes CrossEntropy() for a target.
        after: an attack from whose best points the squares go on, in place of stripes; its own questions come first. On
            rows that a slope brings near the border and not over it, a third of the questions is then enough.
    """

    paper: ClassVar[str] = "Andriushchenko, Croce, Flammarion, Hein, 2020, arXiv 1912.00049"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    queries: int = 5000
    p_init: float = 0.8
    rescale_schedule: bool = False
    loss: Loss = field(default_factory=Margin)
    after: Attack | None = None

    def __post_init__(self) -> None:
        checks.count(self.queries, "queries")
        checks.share(self.p_init, "p_init")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "Square")
        if self.after is not None:
            self.after.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win, or the best of all squares."""
        check_finite(threat)
        return climb(model, x, goal, threat, generator, queries=self.queries, rule=self, loss=self.loss)

    def start(self, task: Task) -> State:
        """Where another attack came to, if one goes before."""
        if self.after is None:
            return {}
        found = self.after.search(task.model, task.x, task.goal, task.threat, task.generator.fold(1))
        return {"first": found.detach() - task.x}

    def learn(self, state: State, rose: Tensor) -> State:
        """Nothing is remembered but the best point."""
        return state

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """The start, then the best point with one more square."""
        p = getattr(task.threat, "p", torch.inf)
        if query == 0 and self.after is not None:
            return task.threat.project(task.x, state["first"]), {}
        if query == 0:
            return (_stripes(task) if p == torch.inf else _tiles(task, p)), state
        share = self._share(query - 1)
        if p != torch.inf:
            return _pyramids(task, z, share, p), state
        turn = (query - 1) % AHEAD
        if turn == 0 or "drawn" not in state:
            count = min(AHEAD, self.queries - query)
            state = {"drawn": task.generator.ahead(3 * count, as_pictures(task.x).shape[1])}
        return _square(task, z, share, state["drawn"][:, 3 * turn : 3 * turn + 3]), state

    def _share(self, query: int) -> float:
        """The share of the picture that a square covers."""
        count = query * 10_000 // self.queries if self.rescale_schedule else query
        return self.p_init / 2.0 ** sum(count > mark for mark in HALVINGS)


def _stripes(task: Task) -> Tensor:
    """Vertical stripes of +eps or -eps."""
    c, _, w = as_pictures(task.x).shape[1:]
    stripes = signs(task.generator, (c, 1, w), task.x.dtype).expand(as_pictures(task.x).shape)
    return task.threat.project(task.x, stripes.reshape(task.x.shape) * per_row(task.threat.eps, task.x))


def _square(task: Task, z: Tensor, share: float, drawn: Tensor) -> Tensor:
    """One square of +eps or -eps a channel; the opposite where that is what is there.

    Args:
        task: the rows in play.
        z: the best change so far [n, ...].
        share: of the picture that the square covers.
        drawn: uniform numbers for its top, its left side and its signs [n, 3, c].
    """
    c, h, w = as_pictures(z).shape[1:]
    place = window(drawn[:, 0, 0], drawn[:, 1, 0], sides(share, h, w), h, w)[:, None].expand(-1, c, -1)
    eps = per_row(task.threat.eps, z).reshape(-1, 1, 1)
    fill = (torch.where(drawn[:, 2, :, None] < 0.5, -1.0, 1.0).to(z.dtype) * eps).expand(place.shape)

    def filled(fill: Tensor) -> Tensor:
        return task.threat.project(task.x, z.reshape(len(z), c, -1).scatter(2, place, fill).reshape(z.shape))

    proposal = filled(fill)
    same = (proposal == z).flatten(1).all(1)
    return filled(torch.where(same[:, None, None], -fill, fill)) if bool(same.any()) else proposal


def _tiles(task: Task, p: float) -> Tensor:
    """Pyramids of random sign in tiles, five along the height."""
    c, h, w = as_pictures(task.x).shape[1:]
    side = max(h // 5, 1)
    tile = (side, min(side, w)) if h > 1 else (1, max(w // 5, 1))
    down, across = h // tile[0], w // tile[1]
    kernels = pyramids(tile, p, task.x).reshape(2, *tile)
    turned = task.generator.integers(2, (1, down, across))
    tiles = signs(task.generator, (c, down, across), task.x.dtype)[..., None, None] * kernels[turned]
    z = task.x.new_zeros(len(task), c, h, w)
    top, left = (h - down * tile[0]) // 2, (w - across * tile[1]) // 2
    grid = tiles.permute(0, 1, 2, 4, 3, 5).reshape(len(task), c, down * tile[0], across * tile[1])
    z[:, :, top : top + grid.shape[2], left : left + grid.shape[3]] = grid
    return _filling(task, z.reshape(task.x.shape), p)


def _pyramids(task: Task, z: Tensor, share: float, p: float) -> Tensor:
    """What two windows and the unused radius hold goes into new pyramids in the first of them."""
    c, h, w = as_pictures(z).shape[1:]
    size = sides(share, h, w, least=3, odd=True)
    here, there = (windows(task.generator, size, h, w)[:, None].expand(-1, c, -1) for _ in range(2))
    kernel = pyramids(size, p, z)[task.generator.integers(2)][:, None]
    fresh = kernel * signs(task.generator, (c, 1), z.dtype)
    flat = z.reshape(len(z), c, -1)
    empty = flat.scatter(2, here, 0.0).scatter(2, there, 0.0)
    old = flat.gather(2, here)
    mixed = fresh + old / _length(old, p)
    held = (_length(flat, p) ** p - _length(empty, p) ** p).clamp(min=0)
    unused = (per_row(task.threat.eps, z).reshape(-1, 1, 1) ** p - per_row(norm(z, p), flat) ** p).clamp(min=0)
    height = (held + unused / c) ** (1 / p)
    return _filling(task, empty.scatter(2, here, mixed / _length(mixed, p) * height).reshape(z.shape), p)


def _length(part: Tensor, p: float) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(part, ord=p, dim=2, keepdim=True).clamp(min=1e-12)
    return length


def _filling(task: Task, z: Tensor, p: float) -> Tensor:
    """The change brought to the radius; from twice as far out, what the limits cut off goes to the other values."""
    eps = per_row(task.threat.eps, z)
    return task.threat.project(task.x, z / per_row(norm(z, p).clamp(min=1e-12), z) * (2 * eps))
