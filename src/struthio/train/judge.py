"""How good a model is on rows that it was not trained on: clean, under one step, and under the plan's attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.pgd import FGSM
from struthio.data.samples import Samples
from struthio.goals import Untargeted
from struthio.rows import RowGenerator
from struthio.train.crew import Crew
from struthio.types import Threat

ALONE = Crew()


@dataclass(frozen=True)
class Verdict:
    """Over so many rows: mean clean cross-entropy, and accuracies; those under attack are None without a threat."""

    judged: int
    clean_loss: float
    clean: float
    robust: float | None = None
    one_step: float | None = None


def judge(
    model: nn.Module,
    data: Samples,
    ids: Tensor,
    threat: Threat | None,
    attack: Attack,
    batch: int = 128,
    seed: int = 0,
    crew: Crew = ALONE,
) -> Verdict:
    """Judge a model in evaluation mode on these rows, shared out among the crew.

    Rows that are wrong as they are count as wrong under attack and are not attacked.
    """
    sums = torch.zeros(4, dtype=torch.float64)
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    assert data.y is not None
    for some in crew.part(ids)[0].split(batch):
        if not len(some):
            continue
        x, y = data.x[some].to(device), data.y[some].to(device)
        with torch.no_grad():
            logits = model(x)
        right = logits.argmax(1) == y
        sums[0] += float(F.cross_entropy(logits.float(), y, reduction="sum"))
        sums[1] += int(right.sum())
        if threat is not None and bool(right.any()):
            x, y, rows = x[right], y[right], RowGenerator.seeded(seed, some.to(device)[right])
            for place, one in ((2, attack), (3, FGSM())):
                sums[place] += int((~one(model, x, Untargeted(y), threat, rows[:]).success).sum())
    loss, clean, robust, one_step = (crew.total(sums) / len(ids)).tolist()
    return Verdict(len(ids), loss, clean, robust, one_step) if threat is not None else Verdict(len(ids), loss, clean)
