"""Whether a folder was begun with this very model, by what it answers: a digest of weights says nothing of its code."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from struthio.audit.chance import repeated
from struthio.audit.heard import Heard, Refused
from struthio.checks import UserError
from struthio.rows import RowGenerator
from struthio.types import Model

ROWS, CLASSES = 8, 100  # of the first answers that are kept
ROUNDING = 0.03  # of the spread of a row's scores: threads change some 1e-6 of it, TF32 1e-3, bfloat16 1e-2
Scores = list[list[float]]


class Notes(Protocol):
    """Where facts are kept: the store of an audit, or the journal of an attack."""

    @property
    def folder(self) -> Path: ...  # noqa: D102

    def note(self, key: str, value: Any) -> None: ...  # noqa: D102

    def noted(self, key: str, default: Any = None) -> Any: ...  # noqa: D102


def refuse_another_model(models: Mapping[str, Model], ids: Tensor, x: Tensor, seed: int, notes: Notes) -> None:
    """Keep the answers of each model, by its name, to the first rows, or compare them with those that were kept.

    Nothing can be told of a model that fails on these rows, or that answers them in two ways though the global random
    numbers of torch, NumPy and Python are the same. Raises UserError for another model.

    Args:
        models: by name.
        ids: of the rows [n], of which the first eight are looked at.
        x: their inputs [n, ...].
        seed: of random numbers.
        notes: where the answers are kept.
    """
    now = {name: _answers(model, ids[:ROWS], x[:ROWS], seed) for name, model in models.items()}
    before = notes.noted("first answers")
    if before is None:
        notes.note("first answers", now)
        return
    for name, scores in now.items():
        if _differ(scores, before.get(name, [])):
            raise UserError(
                f"{notes.folder} holds work on another {name}: the first rows were answered otherwise, though the "
                "weights are not to be told apart. Give the one of before to go on, or name another folder with -o."
            )


@torch.no_grad()
def _answers(model: Model, ids: Tensor, x: Tensor, seed: int) -> Scores:
    """The first scores of the first rows, shortened; none where they cannot be told."""
    asked = []
    for _ in range(2):
        try:
            with repeated(RowGenerator.seeded(seed, ids)):
                outputs = Heard(model)(x)[:, :CLASSES]
        except Refused:
            return []
        asked.append([[float(f"{score:.6g}") for score in row] for row in outputs.tolist()])
    return [] if _differ(*asked) else asked[0]


def _differ(one: Scores, other: Scores) -> bool:
    if not one or not other:
        return False
    a, b = torch.tensor(one, dtype=torch.float64), torch.tensor(other, dtype=torch.float64)
    if a.shape != b.shape:
        return True
    spread = (b.amax(1) - b.amin(1)).clamp(min=1e-6)[:, None]
    return not bool((((a - b).abs() <= ROUNDING * spread) | (a == b) | (a.isnan() & b.isnan())).all())
