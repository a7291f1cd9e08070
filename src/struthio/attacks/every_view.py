"""Against a detector that compares answers: fool the model on every view of the input, then make the answers agree."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from struthio.attacks.ascend import ascend
from struthio.attacks.base import Attack
from struthio.attacks.rules import Momentum
from struthio.goals import Evade
from struthio.losses import LogitGap, Margin
from struthio.meter import Metered
from struthio.models import declared, with_stand_ins
from struthio.rows import RowGenerator, Rows
from struthio.threats import Box
from struthio.threats.balls import Ball
from struthio.types import Goal, Loss, Threat

Plan = tuple[tuple[int, float], ...]  # steps, and their size as a share of eps
FOOLING: Plan = tuple((10, size) for size in (1.0, 0.6, 0.35, 0.18, 0.07, 0.02))
AGREEING: Plan = tuple((20, size) for size in (0.17, 0.08, 0.03, 0.01))
RULE = Momentum(0.75)


class Answers(nn.Module):
    """All that a network says while its detector looks at an input, answer beside answer: [n, answers * classes].

    Args:
        guarded: a `Guarded` model.
    """

    def __init__(self, guarded: nn.Module) -> None:
        super().__init__()
        self.guarded = guarded

    def forward(self, x: Tensor) -> Tensor:
        """The logits on x and on every view of it that the detector asks about."""
        heard: list[Tensor] = []

        def listen(part: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> None:
            heard.append(output)

        handle = self.guarded.get_submodule("model").register_forward_hook(listen)
        try:
            self.guarded(x)
        finally:
            handle.remove()
        return torch.cat([answer for answer in heard if len(answer) == len(x)], 1)


@dataclass(frozen=True)
class Every:
    """One goal in each of several answers that lie side by side; the search works on a soft minimum of the scores."""

    goal: Goal
    answers: int

    def check(self, x: Tensor) -> None:
        """Raise UserError where the goal does not fit the rows."""
        self.goal.check(x)

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where the goal does not fit an answer."""
        self.goal.check_outputs(outputs.chunk(self.answers, 1)[0])

    def success(self, outputs: Tensor) -> Tensor:
        """Rows that reach it in every answer, bool [n]."""
        return torch.stack([self.goal.success(one) for one in outputs.chunk(self.answers, 1)]).all(0)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """-log sum exp(-score) over the answers, [n]."""
        scores = [self.goal.score(loss, one) for one in outputs.chunk(self.answers, 1)]
        return -torch.stack(scores).neg().logsumexp(0)

    def __getitem__(self, rows: Rows) -> Every:
        return replace(self, goal=self.goal[rows])


@dataclass(frozen=True)
class EveryView(Attack):
    """Fools a guarded network on every view that its detector compares, then makes the answers agree.

    Where two answers are sure of different classes, a gap between them is flat, and its slope would rather undo the
    wrong answer than change the others. So the margins of all answers are raised together first, through stand-ins, in
    ever smaller steps of momentum (He, Wei, Chen, Carlini, Song, 2017, arXiv 1706.04701, attack plain and squeezed
    inputs at once). Stand-ins lead across the steps of a rounding and are of no use within one. So the piece is held on
    which what rounds stays as it is, as far as parts say how wide it is (`piece`); within it the model's own slope is
    exact, and along it the joint score is raised.

    Args:
        source: the guarded model with stand-ins.
        held: the same without those of the parts that round, whose slope is zero within a piece.
        answers: how many the detector compares.
    """

    paper: ClassVar[str] = "He, Wei, Chen, Carlini, Song, 2017, arXiv 1706.04701"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    source: nn.Module
    held: nn.Module
    answers: int = 2

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best point within the piece to which the first search came."""
        inner = goal.goal if isinstance(goal, Evade) else goal

        def follow(asked: Metered, start: Tensor, goal: Goal, threat: Threat, loss: Loss, plan: Plan) -> Tensor:
            for steps, size in plan:
                start = ascend(
                    asked, x, goal, threat, generator, steps=steps, step=size, loss=loss, start=start - x, rule=RULE,
                    keep="best",
                )  # fmt: skip
            return start

        fooled = follow(model.over(Answers(self.source)), x, Every(inner, self.answers), threat, Margin(), FOOLING)
        within = _within(threat, pieces(self.held, fooled))
        return follow(model.over(self.held), fooled, goal, within, LogitGap(), AGREEING)


def for_guarded(given: nn.Module, source: nn.Module, x: Tensor) -> EveryView | None:
    """The attack for a model whose detector compares answers; None where it asks the network no more than once.

    Args:
        given: the guarded model as it is.
        source: the same with stand-ins.
        x: any rows.
    """
    with torch.no_grad():
        classes, said = given(x).shape[1] - 1, Answers(given)(x).shape[1]
    if said < 2 * classes or said % classes:
        return None
    smooth = {name: part for name, part in declared(given).items() if not hasattr(given.get_submodule(name), "piece")}
    return EveryView(source, with_stand_ins(given, smooth), said // classes)


def pieces(model: nn.Module, x: Tensor) -> Iterable[tuple[Tensor, Tensor]]:
    """The lowest and the highest values around x that parts which round take for the same, for each that says so."""
    known = (getattr(part, "piece", None) for part in model.modules())
    return [piece(x) for piece in known if piece is not None]


def _within(threat: Threat, pieces: Iterable[tuple[Tensor, Tensor]]) -> Threat:
    """The threat with limits as narrow as all pieces."""
    for low, high in pieces:
        if isinstance(threat, Ball) and threat.box is not None:
            low, high = (edge.clamp(threat.box.low, threat.box.high) for edge in (low, high))  # type: ignore[arg-type]
            threat = replace(threat, box=Box(low, high))
    return threat
