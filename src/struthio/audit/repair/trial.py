"""Which of several repairs is best? Each gets the same short attack, judged on the model as it was given."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from struthio.attacks import PGD
from struthio.attacks.base import no_trace
from struthio.attacks.stream import out_of_memory
from struthio.audit.doubts.probe import Probe, SoftMargin
from struthio.checks import UserError
from struthio.gradients import Autograd
from struthio.losses import Margin
from struthio.rows import where_rows
from struthio.types import Gradient, Model

ROWS, STEPS, DRAWS = 16, 10, 5
ENOUGH = 0.9  # of the rows fell: no better repair need be looked for


@dataclass(frozen=True)
class Candidate:
    """One way to attack: on which model, by which slope."""

    model: Model
    gradient: Gradient = field(default_factory=Autograd)


@dataclass(frozen=True, order=True)
class Tried:
    """What a short attack reached: the share of rows that fell, then by how much on average."""

    fell: float
    margin: float

    def __str__(self) -> str:
        return f"{self.fell:.0%} of the rows fell"


NOTHING = Tried(-1.0, 0.0)


def trial(probe: Probe, candidate: Candidate) -> tuple[Tried, Tensor]:
    """Ten steps on the margin for the first rows; also where they led. `probe.model` is the judge."""
    few = probe.few(ROWS)
    attack = PGD(steps=STEPS, loss=Margin(), gradient=candidate.gradient, keep="best")
    try:
        x_adv = attack(candidate.model, few.x, few.goal, few.threat, few.generator).x_adv
    except (UserError, RuntimeError) as error:  # no gradient arrives, or the repair does not fit
        if out_of_memory(error):
            raise
        return NOTHING, few.x
    return judged(probe, x_adv), x_adv


@torch.no_grad()
def judged(probe: Probe, x_adv: Tensor) -> Tried:
    """How far inputs got on the model as given."""
    goal = probe.few(len(x_adv)).goal
    with no_trace(probe.generator.fold(600)):
        outputs = torch.stack([probe.model(x_adv) for _ in range(DRAWS)])
    fell = torch.stack([goal.success(out) for out in outputs]).double().mean()
    margin = torch.stack([goal.score(SoftMargin(), out) for out in outputs]).double()
    return Tried(float(fell), float(margin.mean()))


def by_chance(probe: Probe) -> Tried:
    """What the best of as many random changes reaches: the bar that a slope has to clear."""
    few = probe.few(ROWS)
    zero = few.threat.zero(few.x)
    best, best_score = few.x, few.score(zero)
    for draw in range(STEPS):
        way = few.generator.fold(700 + draw).normal(few.x.shape[1:], few.x.dtype)
        z = few.step(way.reshape_as(zero), 1.0)
        score = few.score(z, draw)
        best = where_rows(score > best_score, few.threat.apply(few.x, z), best)
        best_score = score.maximum(best_score)
    return judged(probe, best)
