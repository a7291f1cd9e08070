"""Training on a stored set of correctly labelled adversarial examples, made once on another or an earlier model."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.data import Samples, load_data
from struthio.data.files import replacing
from struthio.train.recipe import Moment, Recipe


@dataclass(frozen=True)
class Static(Recipe):
    """J on batches in which some rows are exchanged for stored examples, drawn at random.

    A share of a half is training on the union of the data and a stored set of the same size. A network fine-tuned or
    trained anew this way withstands the stored examples, and not those that are made for it afterwards; examples have
    to be made in every step for that (`FGSMAT`, `PGDAT`).

    Args:
        examples: a data set as for `load_data`, such as a file written by `store`; its labels are the true classes.
        share: the chance of a row to be exchanged, in (0, 1].

    Raises:
        UserError: for a share out of range, and for a set that cannot be read, has no labels, or whose rows have
            another shape.
    """

    paper: ClassVar[str] = "Szegedy, Zaremba, Sutskever, Bruna, Erhan, Goodfellow, Fergus, 2013, arXiv 1312.6199"

    examples: str
    share: float = 0.5

    def __post_init__(self) -> None:
        checks.share(self.share, "share")
        _opened(self.examples)

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy of the mixed batch."""
        stored, labels = _opened(self.examples)
        rows = (moment.generator.uniform() < self.share).nonzero().flatten()
        chosen = moment.generator.integers(len(stored))[rows].cpu()
        if len(rows):
            taken = stored.x[chosen].to(x)
            if taken.shape[1:] != x.shape[1:]:
                raise UserError(
                    f"the rows of {self.examples} have shape {tuple(taken.shape[1:])}, those of the data "
                    f"{tuple(x.shape[1:])}. Make the examples from the same data."
                )
            x, y = x.index_copy(0, rows, taken), y.index_copy(0, rows, labels[chosen].to(y))
        return F.cross_entropy(model(x), y)


def store(path: str | Path, x_adv: Tensor, labels: Tensor) -> None:
    """Write adversarial examples with their true classes to an .npz archive, for `Static`.

    Args:
        path: where; a file that is there is replaced.
        x_adv: the examples [n, ...], such as `result.x_adv`.
        labels: their true classes, int64 [n].
    """
    checks.classes(labels, len(x_adv), "labels")
    with replacing(Path(path)) as beside, beside.open("wb") as file:
        np.savez(file, x=x_adv.detach().float().cpu().numpy(), y=labels.cpu().numpy())


@functools.lru_cache(maxsize=4)
def _opened(spec: str) -> tuple[Samples, Tensor]:
    samples = load_data(spec)
    if samples.y is None:
        raise UserError(f"{spec} holds no labels; correctly labelled examples are needed. `store` writes them.")
    return samples, torch.as_tensor(samples.y)
