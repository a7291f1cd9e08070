"""Auto-PGD in L1: sparse steps whose sparsity follows the change found so far (Croce and Hein, 2021, arXiv
2103.01208).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from struthio.attacks.task import Task
from struthio.rows import norm, per_row, where_rows
from struthio.types import State

if TYPE_CHECKING:
    from struthio.attacks.auto import APGD, Walk

STAGES = ((3.0, 0.3), (2.0, 0.3), (1.0, 0.4))  # the radius as a multiple of eps, and the share of the steps


def shrinking_balls(attack: APGD, task: Task) -> Tensor:
    """Search a ball three times too large, carry the best z into one twice too large, and into the ball itself."""
    x, threat = task.x, task.threat
    z = task.generator.normal(x.shape[1:], x.dtype)
    for index, (factor, share) in enumerate(STAGES):
        last = index == len(STAGES) - 1
        ball = threat if last else threat.at(threat.eps * factor)
        # Nothing is won yet outside the ball itself, so no row may leave before the last stage.
        stage = replace(attack, steps=max(1, int(share * attack.steps)), keep=attack.keep if last else "best")
        z = _stage(stage, replace(task, threat=ball), ball.project(x, z))
    return z


def _stage(attack: APGD, task: Task, z: Tensor) -> Tensor:
    from struthio.attacks.auto import Walk

    walk = Walk(attack, task, z)
    walk.state["step"] = torch.ones_like(walk.state["step"])
    walk.state["changed"] = norm(z, 0)
    interval = max(int(0.04 * attack.steps), 1)
    for step in range(attack.steps):
        if not walk.look():
            break
        if step and step % interval == 0:
            walk.state = _adapt(walk.state)
        walk.state["z"] = _move(walk)
    return walk.end()


def _move(walk: Walk) -> Tensor:
    state, x, threat = walk.state, walk.task.x, walk.task.threat
    # Unlike the published code, values with no room left are passed over: on a linear model it would stop at the
    # first ones.
    useful = threat.useful(x, state["z"], state["grad"]).flatten(1)
    height = useful.abs()
    ranked = height.sort(1).values
    count = (state["changed"] / 1.5).long().clamp(1, height.shape[1])
    sparse = (useful * (height >= ranked.gather(1, height.shape[1] - count[:, None]))).sign()
    step = (sparse / sparse.abs().sum(1, keepdim=True).clamp(min=1e-10)).reshape(x.shape)
    return threat.project(x, state["z"] + per_row(state["step"] * threat.reach, x) * step)


def _adapt(state: State) -> State:
    changed = norm(state["best_z"], 0)
    sparser = changed / state["changed"].clamp(min=1) < 0.95
    return {
        **state,
        "changed": changed,
        "step": torch.where(sparser, 1.0, (state["step"] / 1.5).clamp(min=0.1)),
        "z": where_rows(sparser, state["best_z"], state["z"]),
        "grad": where_rows(sparser, state["best_grad"], state["grad"]),
    }
