"""DeepFool: take the walls between classes for planes, step to the nearest, and look again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.walls import look, nearest, offer, room
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, narrow, remaining
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.threats.projections import onto_plane
from struthio.types import Goal, State, Threat

PAST = 1e-4  # what the authors' code adds to every height: a wall is else approached for ever where limits bind


@dataclass(frozen=True)
class DeepFool(Attack):
    """A small change in L2, Linf or L1: the sum of shortest steps to the nearest wall, until a row is won.

    The walls are those of the logits, w their slope and f their height: a step is |f| / ||w||_q long, along the dual
    of w. The paper has no limits (`box=None`); within limits every point is clipped. Toward a target there is one
    wall, that to the strongest other class.

    Args:
        steps: the most steps of a row.
        overshoot: by what share the sum of all steps is lengthened, so that the last one crosses the wall.
        classes: how many of the likeliest classes are looked at, the one to get away from among them.
    """

    paper: ClassVar[str] = "Moosavi-Dezfooli, Fawzi, Frossard, 2016, arXiv 1511.04599"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 50
    overshoot: float = 0.02
    classes: int = 10

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.not_negative(self.overshoot, "overshoot")
        checks.count(self.classes, "classes", 2)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The first win of each row."""
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        cross(task, found, threat.zero(x), self.steps, self.overshoot, self.classes)
        return found.inside(x, threat)


def cross(
    task: Task, found: Smallest, z: Tensor, steps: int, overshoot: float, classes: int, p: float | None = None
) -> Tensor:
    """Step from z to the wall that is nearest in the p-norm (None: the threat's), up to `steps` times, until it is
    crossed; the last z of each row.
    """
    p = getattr(task.threat, "p", 2) if p is None else p
    end, place = z.clone(), torch.arange(len(z), device=z.device)
    low, high = room(task.threat, task.x)
    state: State = {"z": z, "low": low, "high": high, "place": place}
    for _ in range(steps):
        walls = look(task, state["z"], state.get("classes", classes - 1))
        if walls.classes is not None:
            state["classes"] = walls.classes  # the candidates of a row are those of its first look
        won = offer(found, task, state["z"], walls.outputs)
        state = _ahead(state, *nearest(walls, p), overshoot, p)
        lost = ~won
        end[state["place"][lost]] = state["z"][lost]
        if bool(won.any()):
            stay = remaining(won)
            task, state = task[stay], narrow(state, stay)
        if not len(task):
            return end
    with torch.no_grad():
        offer(found, task, state["z"], task.model(task.see(state["z"])))
    return end


def _ahead(state: State, slope: Tensor, need: Tensor, overshoot: float, p: float) -> State:
    """One step more. The limits cut the point and not the step, which makes it shy where many of them bind.

    Only in L1, where a step moves one value, it has to go on to the next when that is at its limit.
    """
    z, low, high = state["z"], state["low"], state["high"]
    free = slope * (high > low)  # nothing under a mask
    way = onto_plane(free, need.clamp(min=0) + PAST, (low - z, high - z) if p == 1 else None, p)
    return {**state, "z": (z + (1 + overshoot) * way).clamp(low, high)}
