"""ZOO: the loss of Carlini and Wagner, descended coordinate by coordinate from differences of scores."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.climb import changeable, payable
from struthio.attacks.places import changes_values
from struthio.attacks.queries.crowd import at_once, difference, foremost, look
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow
from struthio.checks import UserError
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Loss, State, Threat

STEP, FAR = 0.01, 0.3  # the authors' step, and how far a value can go in all where it is drawn seldom


@dataclass(frozen=True)
class ZOO(Attack):
    """Zeroth-order optimisation of |z|^2 + c * hinge: a small L2 change from scores alone.

    Each step draws some values of the picture and moves them by Adam or by Newton's method, both per value, from two
    questions each. c begins small, grows tenfold until a row is won, and is then halved into place, per row. The
    change is kept between the limits by clipping, as the authors' code does for digits. Scores are compared as they
    are: the paper's logarithms of probabilities differ from logits by a constant that the margin does not see.

    A value is drawn in a share `coordinates` / values of the steps and moves by about `step` each time. The authors'
    3,000 steps a round draw each value of a digit 490 times; 4,000 questions in one round draw it three times, and
    0.03 wins nothing. With so few questions take one round and begin with a large c, such as 10.

    Args:
        queries: the most questions a row, over all values of c.
        rounds: how many values of c are tried.
        coordinates: how many values of the picture a step moves.
        step: the length of a step in one value, in the units of the input; None takes the authors' 0.01, or where a
            round draws a value less than 30 times, so much that 0.3 could be gone, at most 0.3 at once.
        width: h, how far a value is moved for a question, in the units of the input; on the levels of a picture at
            least one level.
        solver: "adam" or "newton".
        importance: draw values that were moved far more often.
        c: the first weight of the loss.
        kappa: the margin that the loss asks for.
        loss: what has to rise above kappa.
    """

    paper: ClassVar[str] = "Chen, Zhang, Sharma, Yi, Hsieh, 2017, arXiv 1708.03999"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("l2",)

    queries: int = 250_000
    rounds: int = 5
    coordinates: int = 128
    step: float | None = None
    width: float = 1e-4
    solver: str = "adam"
    importance: bool = False
    c: float = 0.01
    kappa: float = 0.0
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        for name in ("queries", "rounds", "coordinates"):
            checks.count(getattr(self, name), name)
        for name in ("width", "c"):
            checks.positive(getattr(self, name), name)
        if self.step is not None:
            checks.positive(self.step, "step")
        checks.not_negative(self.kappa, "kappa")
        checks.one_of(self.solver, ("adam", "newton"), "solver")
        if self.queries < 3 * self.rounds:
            raise UserError(f"{self.queries} queries in {self.rounds} rounds; a round takes at least 3.")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the threat has another norm, or none."""
        super().fits(threat)
        changes_values(threat, "ZOO")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all rounds."""
        task = Task.whole(model, x, goal, threat, generator)
        found = Smallest(x)
        c = torch.full((len(x),), self.c, dtype=x.dtype, device=x.device)
        low, high = torch.zeros_like(c), torch.full_like(c, torch.inf)
        for _ in range(self.rounds):
            won = self._descend(task, found, c)
            low, high = torch.where(won, low, c), torch.where(won, c, high)
            c = torch.where(high.isfinite(), (low + high) / 2, c * 10)
        return found.inside(x, threat)

    def _descend(self, task: Task, found: Smallest, c: Tensor) -> Tensor:
        """One round from no change; which rows were won in it, bool [n]."""
        asked = self.queries // self.rounds
        count = min(self.coordinates, task.x[0].numel(), max(asked // 4, 1))
        price, won = 2 * count + 1, torch.zeros_like(c, dtype=torch.bool)
        step = self._step(asked // price * count / task.x[0].numel())
        z, state = task.threat.zero(task.x), self._start(task, c)
        for _ in range(asked // price):
            asking = payable(task.model, price)
            task, z, state = task[asking], z[asking], narrow(state, asking)
            if not len(task):
                break
            place = self._draw(task, z, state, count)
            slope, bend, wins = self._measure(task, found, z, place, state["c"])
            won[task.rows] |= wins
            z, state = self._move(task, z, place, slope, bend, state, step)
        return won

    def _step(self, draws: float) -> float:
        """How far a value moves in a step of a round that draws it so often."""
        return min(max(STEP, FAR / max(draws, 1.0)), FAR) if self.step is None else self.step

    def _start(self, task: Task, c: Tensor) -> State:
        """What each value remembers: Adam's means and how often it was moved."""
        still = torch.zeros_like(task.x.flatten(1))
        return {"c": c, "first": still, "second": still, "times": still, "free": changeable(task).flatten(1)}

    def _draw(self, task: Task, z: Tensor, state: State, count: int) -> Tensor:
        """Numbers of the values to move, [n, count]: those that come first in a race whose speed is their weight."""
        time = task.generator.exponential((z[0].numel(),), z.dtype)
        if self.importance:
            moved = z.flatten(1).abs()
            time = time / (0.01 + moved / moved.amax(1, keepdim=True).clamp(min=1e-12))
        return time.masked_fill(~state["free"], torch.inf).topk(count, dim=1, largest=False).indices

    def _measure(self, task: Task, found: Smallest, z: Tensor, place: Tensor, c: Tensor) -> tuple[Tensor, ...]:
        """Slope and bend of the objective in the values drawn, [n, count] each, and which rows were won on the way."""
        flat = z.flatten(1)
        _, here, won = self._look(task, found, flat[None])
        slopes, bends = [], []
        for part in place.T.split(max(1, at_once(z) // 2)):
            shift = torch.zeros_like(flat).repeat(len(part), 1, 1).scatter(2, part[:, :, None], self.width)
            seen, hinge, wins = self._look(task, found, torch.cat([flat + shift, flat - shift]))
            value = seen.gather(2, part.repeat(2, 1)[:, :, None])[:, :, 0]
            apart = (value[: len(part)] - value[len(part) :]).clamp(min=torch.finfo(z.dtype).tiny)
            up, down = hinge.chunk(2)
            slopes.append(difference(up, down) / apart * (apart > 0.1 * self.width))
            bends.append((up + down - 2 * here) / (apart / 2).square() * (apart > 1.9 * self.width))
            won = torch.cat([won, wins])
        slope = 2 * flat.gather(1, place) + c[:, None] * torch.cat(slopes).T
        return slope, 2 + c[:, None] * torch.cat(bends).T, won.any(0)

    def _look(self, task: Task, found: Smallest, points: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What the model saw, the hinge and the wins at several z, [k, n, values] and [k, n]; wins are kept."""
        seen, score, won = look(task, self.loss, points.reshape(len(points), *task.x.shape))
        size = torch.stack([task.threat.size(task.x, point) for point in seen])
        top = foremost(won, torch.where(won, -size, score)), torch.arange(len(task), device=points.device)
        found.offer(task.rows, seen[top], size[top], score[top], won[top])
        return seen.flatten(2), (self.kappa - score).clamp(min=0), won

    def _move(
        self, task: Task, z: Tensor, place: Tensor, slope: Tensor, bend: Tensor, state: State, step: float
    ) -> tuple[Tensor, State]:
        """A step down in each value drawn."""
        first = 0.9 * state["first"].gather(1, place) + 0.1 * slope
        second = 0.999 * state["second"].gather(1, place) + 0.001 * slope.square()
        times = state["times"].gather(1, place) + 1
        if self.solver == "adam":
            length = step * first / (1 - 0.9**times) / ((second / (1 - 0.999**times)).sqrt() + 1e-8)
        else:
            length = step * slope / torch.where(bend > 0, bend, 1.0).clamp(min=0.1)
        kept = {"first": first, "second": second, "times": times}
        state = {**state, **{name: state[name].scatter(1, place, value) for name, value in kept.items()}}
        ahead = z.flatten(1).scatter_add(1, place, -length).reshape(z.shape)
        return task.threat.project(task.x, ahead), state
