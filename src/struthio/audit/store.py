"""Keeps an audit as it comes: verdicts in SQLite, pictures in shards. What was added outlives a kill."""

from __future__ import annotations

import os
import re
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from torch import Tensor

from struthio.audit import tables
from struthio.audit.findings import Findings
from struthio.audit.folder import DATABASE, LOCK, PICTURES, plainly, refuse_foreign
from struthio.audit.resume import prepare
from struthio.checks import UserError
from struthio.data import database, shards
from struthio.data.database import JSON, warn_if_remote
from struthio.data.files import claim, writable_folder


class Store:
    """The folder of an audit: `audit.sqlite` with a row for every row, `pictures/` with the inputs found.

    Make one with `Store.open` to write, or `Store.read` to look on. One process may write at a time; any number may
    read meanwhile. The database is plain SQLite: `sqlite3 audit.sqlite 'SELECT id FROM findings WHERE fell'`.
    """

    def __init__(self, folder: Path, opened: sqlite3.Connection, lock: sqlite3.Connection | None = None) -> None:
        self.folder, self._database, self._lock = folder, opened, lock

    @classmethod
    def open(cls, folder: str | Path, job: Mapping[str, JSON]) -> Store:
        """Begin an audit in a folder, or go on with the same one.

        Leftovers of a kill are swept away. A batch that was damaged on the disk is forgotten with a StoreWarning, so
        that it is done again. Raises UserError where the folder holds another job or foreign files, where another
        process writes in it, and where the database is damaged.

        Args:
            folder: made where it is absent.
            job: what is audited and how, by names: everything that the results depend on.
        """
        folder = writable_folder(folder)
        refuse_foreign(folder)
        warn_if_remote(folder)
        with plainly(folder):
            lock = claim(folder, LOCK)
            store = cls(folder, sqlite3.connect(folder / DATABASE, isolation_level=None), lock)
            with store._closed_on_failure():
                prepare(folder, store._database, job)
        return store

    @classmethod
    def read(cls, folder: str | Path) -> Store:
        """Look at an audit, also while another process writes it. Raises UserError where there is none."""
        path = Path(folder).expanduser().resolve() / DATABASE
        if not path.is_file():
            raise UserError(f"{path.parent} holds no audit: there is no {DATABASE} in it.")
        with plainly(path.parent):
            store = cls(path.parent, sqlite3.connect(_to_read(path), uri=True, isolation_level=None))
            with store._closed_on_failure():
                if not database.begun(store._database, path, tables.SCHEMA):
                    raise UserError(f"the audit in {path.parent} was stopped before anything was kept.")
        return store

    def close(self) -> None:
        """Let go of the folder. What was added is kept."""
        self._database.close()
        if self._lock is not None:
            self._lock.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    @property
    def job(self) -> dict[str, Any]:
        """What the audit was begun with."""
        return self._facts("job")

    def note(self, key: str, value: JSON) -> None:
        """Keep one fact (a plan, a doubt, the seconds spent), in the place of an earlier one of that key."""
        with plainly(self.folder):
            database.keep_fact(self._database, "notes", key, value)

    def notes(self) -> dict[str, Any]:
        """All facts, by their keys."""
        return self._facts("notes")

    def noted(self, key: str, default: Any = None) -> Any:
        """One fact, or the default."""
        return self.notes().get(key, default)

    def threats(self) -> list[str]:
        """The threats under which at least one batch is finished, sorted."""
        return [threat for (threat,) in self._ask("SELECT DISTINCT threat FROM batches ORDER BY threat")]

    def done(self, threat: str) -> set[int]:
        """The numbers of the finished batches."""
        return {batch for (batch,) in self._ask("SELECT batch FROM batches WHERE threat = ?", threat)}

    def add(
        self,
        threat: str,
        batch: int,
        findings: Findings,
        pictures: Mapping[str, Tensor] | None = None,
        notes: Mapping[str, JSON] | None = None,
    ) -> None:
        """Keep one finished batch, all of it or nothing. When this returns it outlives a kill and a power cut.

        Raises UserError where the disk is full; what was added before is kept, and the same audit can go on later.

        Args:
            threat: under which the rows were attacked.
            batch: its number; each is added once.
            findings: one entry a row.
            pictures: tensors under names of your choice, kept in one file as they are.
            notes: facts that hold from this batch on; kept with it or not at all.
        """
        if batch in self.done(threat):
            raise ValueError(f"batch {batch} of {threat} was added already")
        findings = tables.settled(findings)
        shard = _shard(threat, batch) if pictures else None
        path = self.folder / PICTURES / (shard or "")
        with plainly(self.folder):
            written = shards.write(path, pictures) if pictures else None
            record = (threat, batch, tables.checksum(findings), shard, written)
            try:
                with self._all_or_nothing():
                    tables.insert(self._database, threat, batch, findings)
                    self._database.execute("INSERT INTO batches VALUES (?, ?, ?, ?, ?)", record)
                    for key, value in (notes or {}).items():
                        database.keep_fact(self._database, "notes", key, value)
            except Exception:  # after a Ctrl-C it may have been committed; the next opening knows
                if shard:
                    path.unlink()
                raise

    def findings(self, threat: str) -> Iterator[Findings]:
        """The findings of each finished batch in the order of their numbers; one batch at a time is in memory."""
        query = "SELECT batch, checksum FROM batches WHERE threat = ? ORDER BY batch"
        for batch, checksum in self._ask(query, threat):
            with plainly(self.folder):
                found = tables.select(self._database, threat, batch, checksum)
            yield found

    def pictures(self, threat: str, batch: int) -> dict[str, Tensor]:
        """The tensors added with a batch. Raises KeyError for an unknown batch, UserError for a damaged file."""
        records = self._ask("SELECT shard, shard_checksum FROM batches WHERE threat = ? AND batch = ?", threat, batch)
        if not records:
            raise KeyError(f"no batch {batch} of {threat}")
        shard, checksum = records[0]
        return shards.read(self.folder / PICTURES / shard, checksum) if shard else {}

    def _ask(self, query: str, *values: str | int) -> list[Any]:
        with plainly(self.folder):
            return self._database.execute(query, values).fetchall()

    def _facts(self, table: str) -> dict[str, Any]:
        with plainly(self.folder):
            return database.facts(self._database, table)

    @contextmanager
    def _closed_on_failure(self) -> Iterator[None]:
        try:
            yield
        except BaseException:
            self.close()
            raise

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        self._database.execute("BEGIN IMMEDIATE")
        with self._database:
            yield


def _to_read(path: Path) -> str:
    """Where nothing can be written, nobody writes, and SQLite must be told so: it would set up a log to share."""
    alone = not os.access(path.parent, os.W_OK) and not path.with_name(f"{path.name}-wal").exists()
    return f"{path.as_uri()}?{'immutable=1' if alone else 'mode=ro'}"


def _shard(threat: str, batch: int) -> str:
    """A file name that says the threat, and is another for each."""
    word = re.sub(r"[^A-Za-z0-9.]+", "-", threat)[:60]
    return f"{word}-{database.digest(threat)[:6]}-{batch:05d}{shards.SUFFIX}"
