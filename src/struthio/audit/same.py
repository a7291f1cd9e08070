"""Whether a folder was begun with this very model, by what it answers: a digest of weights says nothing of its code."""

from __future__ import annotations

import torch

from struthio.audit.chance import repeated
from struthio.audit.heard import Heard, Refused
from struthio.audit.job import Job
from struthio.audit.store import Store
from struthio.checks import UserError
from struthio.rows import RowGenerator
from struthio.types import Model

ROWS, CLASSES = 8, 100  # of the first answers that are kept
ROUNDING = 0.03  # of the spread of a row's scores: threads change some 1e-6 of it, TF32 1e-3, bfloat16 1e-2
Scores = list[list[float]]


def refuse_another(job: Job, store: Store) -> None:
    """Keep the first answers of the model and of its surrogates, or compare them with those that were kept.

    Nothing can be told of a model that fails on these rows, or that answers them in two ways though the global random
    numbers of torch, NumPy and Python are the same. Raises UserError for another model.
    """
    models = {"model": job.model, **{f"surrogate {name}": model for name, model in job.surrogates.items()}}
    now = {name: _answers(model, job) for name, model in models.items()}
    before = store.noted("first answers")
    if before is None:
        store.note("first answers", now)
        return
    for name, scores in now.items():
        if _differ(scores, before.get(name, [])):
            raise UserError(
                f"{store.folder} holds the audit of another {name}: the first rows were answered otherwise, though the "
                "weights are not to be told apart. Give the one of before to go on, or name another folder with -o."
            )


@torch.no_grad()
def _answers(model: Model, job: Job) -> Scores:
    """The first scores of the first rows, shortened; none where they cannot be told."""
    ids, x, _ = next(job.data.batches(ROWS, 0, min(ROWS, job.rows)))
    x, asked = x.to(job.device), []
    for _ in range(2):
        try:
            with repeated(RowGenerator.seeded(job.seed, ids)):
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
