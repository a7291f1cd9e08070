"""Chance held still: whatever a model draws from global random numbers follows from its rows, and is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from struthio.attacks.base import no_trace
from struthio.put_back import seeded_elsewhere
from struthio.rows import RowGenerator


@contextmanager
def repeated(generator: RowGenerator) -> Iterator[None]:
    """The global random numbers of torch, NumPy and Python as the rows set them, for a while."""
    with no_trace(generator), seeded_elsewhere(generator.seed):
        yield
