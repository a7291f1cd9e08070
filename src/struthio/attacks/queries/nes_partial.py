"""NES where the likeliest classes alone are shown: from an input that wins back to x, its class always in sight."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import Attack
from struthio.attacks.queries.crowd import at_once, difference
from struthio.attacks.task import narrow
from struthio.attacks.walk import Walk
from struthio.meter import Metered
from struthio.rows import RowGenerator, per_row, where_rows
from struthio.types import Goal, State, Threat


@dataclass(frozen=True)
class PartialNES(Attack):
    """NES against a model that shows the probabilities of its likeliest classes alone.

    The search begins at an input that wins, in the smallest ball around x onto which it can be projected without
    losing. Each step goes up the estimated slope of the probability of that input's class and projects onto a ball
    that is a little smaller; where the class is then no more among those shown the step is halved, and at last
    forgotten, and the next ball shrinks by half as much. A class that is not shown counts as likely as the last that
    is; the paper counts it as 0. A row ends with a win inside the radius.

    Against labels alone the paper puts the share of noisy copies that keep the class in place of its probability, which
    takes millions of questions; `HopSkipJump` is the attack for that.

    Args:
        queries: the most questions a row; a step takes 2 * samples + 1 and one for every halving.
        shown: k, how many classes are shown.
        samples: pairs for a slope; the paper's population of 50 is 25 of them.
        sigma: how far from the point the questions are, in the units of the input.
        step: the length of a step as a share of the ball's radius; .01 in the paper, which is this share of its last
            ball of .05.
        shrink: by what share of its radius the ball is made smaller in a step; .001 in the paper, this share of the
            last ball. It is halved by a step that fails, and doubled again, up to this, by one that does not.
        halvings: how often a step is halved.
        start: inputs that win, [n, ...] or to be expanded to it; None starts from noise, and so does a row whose start
            does not win. A search for a target needs one: noise hardly ever is of a chosen class.
    """

    paper: ClassVar[str] = "Ilyas, Engstrom, Athalye, Lin, 2018, arXiv 1804.08598"
    access: ClassVar[str] = "scores"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    queries: int = 50_000
    shown: int = 1
    samples: int = 25
    sigma: float = 0.001
    step: float = 0.2
    shrink: float = 0.02
    halvings: int = 8
    start: Tensor | None = None

    def __post_init__(self) -> None:
        for name in ("queries", "shown", "samples", "halvings"):
            checks.count(getattr(self, name), name)
        for name in ("sigma", "step"):
            checks.positive(getattr(self, name), name)
        checks.share(self.shrink, "shrink")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win inside the radius, or the smallest."""
        check_finite(threat)
        walk = Walk(model, x, goal, threat, generator, self.queries)
        rows = walk.begin(self.start)
        eps = torch.as_tensor(threat.eps).to(x).expand(len(x))
        point = walk.back(rows, walk.found.value[rows], self.shrink * eps[rows])
        rows, point = rows[walk.left[rows] > 0], point[walk.left[rows] > 0]
        state = {"rows": rows, "point": point, "eps": eps[rows], "radius": walk.size(rows, point)}
        state["class"] = walk.look(rows, point)[2].argmax(1) if len(rows) else rows
        state["shrink"] = torch.full_like(state["eps"], self.shrink)
        for turn in itertools.count(1):
            rows = state["rows"]
            lost = ~threat[rows].allows(x[rows], walk.found.value[rows])
            state = narrow(state, lost & (walk.left[rows] > 2 * self.samples + self.halvings))
            if not len(state["rows"]):
                break
            state = self._inwards(walk, state, self._slope(walk, state, generator.fold(turn)[state["rows"]]))
        return walk.end()

    def _likely(self, outputs: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """How likely the classes are, as logarithms, and whether they are shown, [n] each."""
        every = outputs.log_softmax(1)
        last = every.topk(min(self.shown, every.shape[1]), dim=1).values[:, -1]
        own = every.gather(1, classes[:, None])[:, 0]
        return own.maximum(last), own >= last

    def _slope(self, walk: Walk, state: State, generator: RowGenerator) -> Tensor:
        """Where the class becomes likelier, from pairs of questions, [m, ...]."""
        point, slope = state["point"], torch.zeros_like(state["point"])
        for ways in (
            generator.normal((self.samples, *point.shape[1:]), point.dtype)
            .transpose(0, 1)
            .split(max(1, at_once(point) // 2))
        ):
            asked = torch.cat([point + self.sigma * ways, point - self.sigma * ways]).flatten(0, 1)
            outputs = walk.look(state["rows"], asked)[2]
            likely = self._likely(outputs, state["class"].repeat(2 * len(ways)))[0].reshape(2, len(ways), -1)
            slope += torch.einsum("km,km...->m...", difference(likely[0], likely[1]), ways)
        return slope

    def _inwards(self, walk: Walk, state: State, slope: Tensor) -> State:
        """A step up the slope in a smaller ball, halved until the class is shown; else no step."""
        rows, point, ahead = state["rows"], state["point"], state["point"].clone()
        smaller = (state["radius"] * (1 - state["shrink"])).maximum(state["eps"])
        way = walk.task.threat[rows].steepest(walk.task.x[rows], point - walk.task.x[rows], slope)
        trying = torch.arange(len(rows), device=rows.device)
        for halved in range(self.halvings + 1):
            length = per_row(self.step * 0.5**halved * state["radius"][trying], point)
            _, seen, outputs = walk.look(rows[trying], point[trying] + length * way[trying], smaller[trying])
            _, shown = self._likely(outputs, state["class"][trying])
            ahead[trying[shown]] = seen[shown]
            trying = trying[~shown]
            if not len(trying):
                break
        went = torch.ones_like(rows, dtype=torch.bool).index_fill(0, trying, False)
        return {
            **state,
            "point": where_rows(went, ahead, point),
            "radius": torch.where(went, smaller, state["radius"]),
            "shrink": torch.where(went, 2 * state["shrink"], state["shrink"] / 2).clamp(max=self.shrink),
        }
