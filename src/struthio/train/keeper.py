"""The folder of a training: resumed where it holds the same job, written by the first process alone."""

from __future__ import annotations

import sqlite3
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from struthio.checks import UserError
from struthio.data.files import claim, writable_folder
from struthio.train import checkpoint
from struthio.train.checkpoint import BEST, CHECKPOINT, RESULT, Training
from struthio.train.crew import Crew
from struthio.train.history import best
from struthio.train.job import TrainingWarning
from struthio.train.plan import finite

LOCK = "training.lock"


class Keeper:
    """Keeps checkpoints and the best weights; with no folder, the best weights in memory alone.

    Args:
        folder: made where it is absent; None keeps nothing on the disk.
        training: what is kept.
        job: by which another training is told apart.
        crew: the processes; the first one writes.
        every: seconds between checkpoints within an epoch.
    """

    def __init__(
        self, folder: str | Path | None, training: Training, job: dict[str, Any], crew: Crew, every: float
    ) -> None:
        self.training, self.job, self.crew, self.every = training, job, crew, every
        self.folder = None if folder is None else Path(folder).expanduser()
        self.best: dict[str, Tensor] | None = None
        self.saved = time.monotonic()
        self._lock: sqlite3.Connection | None = None

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Within, no other training writes in the folder. Raises UserError where one does, or where nobody can."""
        if self.folder is not None:
            self.crew.once(self._claim)
        try:
            yield
        finally:
            if self._lock is not None:
                self._lock.close()

    def _claim(self) -> None:
        assert self.folder is not None
        writable_folder(self.folder)
        try:
            self._lock = claim(self.folder, LOCK)
        except sqlite3.OperationalError as error:
            warnings.warn(
                f"{self.folder} cannot be locked ({error}), as on some network file systems: nothing keeps a second "
                "training from writing there too.",
                TrainingWarning,
                stacklevel=2,
            )

    def resume(self) -> None:
        """Put everything back from the checkpoint, or write a first one, so that what cannot be written is known."""
        if self.folder is None:
            return
        found = self.crew.once(self._found)
        if found is None:
            self.save()
            return
        self.training.restore(*found, self.crew.rank, self.crew.size)
        if self._path(BEST).exists() or best(self.training.standing.history) is not None:
            self.best = self.crew.once(lambda: checkpoint.read(self._path(BEST))[0])

    def _found(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        assert self.folder is not None
        checkpoint.sweep(self.folder)
        path = self._path(CHECKPOINT)
        if not path.exists():
            lost = [name for name in (BEST, RESULT) if self._path(name).exists()]
            if lost:
                raise UserError(
                    f"{self.folder} holds {lost[0]} and no {CHECKPOINT} that belongs to it; training here would write "
                    "over it. Name another folder with -o, or remove that file."
                )
            return None
        tensors, facts = checkpoint.read(path)
        checkpoint.same_job(path, facts["job"], self.job)
        return tensors, facts

    @property
    def due(self) -> bool:
        """Whether the last checkpoint is old enough for another."""
        return self.folder is not None and time.monotonic() - self.saved > self.every

    def save(self) -> None:
        """Write a checkpoint. Raises UserError for a full disk, and for weights that are not finite; the one before
        stays.
        """
        if self.folder is None:
            return
        kept = self.crew.gathered(self.training.kept)
        self.crew.once(lambda: self._save(kept))
        self.saved = time.monotonic()

    def _save(self, kept: list[dict[str, Tensor]]) -> None:
        if not finite(self.training.trained.state_dict().values()):
            raise UserError(
                "the weights hold NaN or infinity, though the last loss was finite; the checkpoint before is kept. "
                "Lower the rate, or cut the gradients: clip = 1.0."
            )
        checkpoint.save(self._path(CHECKPOINT), self.training, self.job, kept)

    def keep_best(self, state: dict[str, Tensor], facts: dict[str, Any]) -> None:
        """These are the best weights so far."""
        self.best = {name: value.detach().clone() for name, value in state.items()}
        if self.folder is not None:
            self.crew.once(lambda: checkpoint.write(self._path(BEST), state, facts))

    def _path(self, name: str) -> Path:
        assert self.folder is not None
        return self.folder / name
