"""The loop that climbs by questions alone: whatever a rule proposes next is kept where it raises the goal's score."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from struthio.attacks.best import Best
from struthio.attacks.task import Task, narrow
from struthio.meter import Metered
from struthio.rows import RowGenerator, where_rows
from struthio.types import Goal, Loss, State, Threat


class Rule(Protocol):
    """What to ask next: the part in which attacks that see scores differ."""

    def start(self, task: Task) -> State:
        """What is remembered before the first question."""
        ...

    def propose(self, task: Task, z: Tensor, state: State, query: int) -> tuple[Tensor, State]:
        """The next z to ask about, inside the threat, from the best z so far. `query` counts from 0; the first z asked
        about is always kept.
        """
        ...

    def learn(self, state: State, rose: Tensor) -> State:
        """What to remember once it is known where the score rose, bool [n]."""
        ...


def climb(
    model: Metered,
    x: Tensor,
    goal: Goal,
    threat: Threat,
    generator: RowGenerator,
    *,
    queries: int,
    rule: Rule,
    loss: Loss,
) -> Tensor:
    """Ask about one proposal after another, at most `queries` a row; a row leaves when it is won or its budget ends.

    Args:
        queries: the most questions a row.
        rule: what to ask next.
        loss: what has to rise, as the goal scores it.

    Returns:
        For each row the input that won, or that of the highest score, [n, ...].
    """
    task = Task.whole(model, x, goal, threat, generator)
    best, z, state = Best(threat.zero(x)), threat.zero(x), rule.start(task)
    for query in range(queries):
        asking = payable(task.model)
        if not bool(asking.all()):
            task, z, state = task[asking], z[asking], narrow(state, asking)
        if not len(task):
            break
        proposal, state = rule.propose(task, z, state, query)
        score, won = task.judge(loss, proposal)
        rose = best.offer(task.rows, proposal, score, won)
        z, state = where_rows(rose, proposal, z), rule.learn(state, rose)
        if bool(won.any()):
            task, z, state = task[~won], z[~won], narrow(state, ~won)
    return threat.apply(x, best.value)


def payable(model: Metered, questions: int = 1) -> Tensor:
    """Rows that can be asked so many questions and still one by the judge, bool [n]."""
    left = model.left
    if left is None:
        return torch.ones(len(model), dtype=torch.bool, device=model.ids.device)
    return left > questions


def changeable(task: Task) -> Tensor:
    """Which values of x may change at all, bool [n, ...]: inside the mask, with room before a limit."""
    still, up = task.threat.zero(task.x), torch.ones_like(task.x)
    return (task.threat.useful(task.x, still, up) != 0) | (task.threat.useful(task.x, still, -up) != 0)
