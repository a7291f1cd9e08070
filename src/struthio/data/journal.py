"""Records that are on the disk as soon as they were added, in one file that one process at a time may write."""

from __future__ import annotations

import hashlib
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from struthio.data.database import (
    FACTS,
    JSON,
    OURS,
    StoreWarning,
    begun,
    check_whole,
    facts,
    keep_fact,
    plainly,
    refuse_another,
    warn_if_remote,
)
from struthio.data.files import settle

SCHEMA = 1  # raise it with every change of the tables
TABLES = (
    f"CREATE TABLE job {FACTS}",
    f"CREATE TABLE notes {FACTS}",
    "CREATE TABLE records (kind TEXT, key BLOB, value BLOB, checksum BLOB, PRIMARY KEY (kind, key))",
    f"PRAGMA application_id = {OURS}",
    f"PRAGMA user_version = {SCHEMA}",
)
PUT = (
    "INSERT INTO records VALUES (?, ?, ?, ?)"
    " ON CONFLICT (kind, key) DO UPDATE SET value = excluded.value, checksum = excluded.checksum"
)


class Journal:
    """Bytes under a kind and a key, in the order in which they came, and a few facts beside them.

    What was added outlives a kill, all of it or nothing, and after `sync` a power cut. A record that was damaged on the
    disk is forgotten with a StoreWarning when the journal is opened. A journal without records is of any job.
    """

    def __init__(self, path: Path, database: sqlite3.Connection) -> None:
        self.path, self._database = path, database

    @classmethod
    def open(cls, path: str | Path, job: Mapping[str, JSON], kind: str = "job") -> Journal:
        """Begin a journal, or go on with that of the same job.

        Raises UserError where the file is of another job, where another process writes in it, and where it is damaged.

        Args:
            path: the file, in a folder that is there.
            job: everything that the records depend on, by name.
            kind: of job, in one word for messages.
        """
        path = Path(path)
        warn_if_remote(path.parent)
        with plainly(path):
            journal = cls(path, sqlite3.connect(path, timeout=0, isolation_level=None))
            try:
                journal._prepare(job, kind)
            except BaseException:
                journal.close()
                raise
        return journal

    @property
    def folder(self) -> Path:
        """In which the file is."""
        return self.path.parent

    def close(self) -> None:
        """Let others write. What was added is kept."""
        self._database.close()

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What is added within is kept when the block ends, all of it or nothing. Blocks may stand in blocks."""
        if self._database.in_transaction:
            yield
            return
        with plainly(self.path):
            self._database.execute("BEGIN IMMEDIATE")
            with self._database:
                yield

    def sync(self) -> None:
        """Bring what was added to the disk itself: some milliseconds, which not every answer of a service is worth."""
        with plainly(self.path):
            self._database.execute("PRAGMA wal_checkpoint(FULL)").fetchall()

    def note(self, key: str, value: JSON) -> None:
        """Keep one fact, in the place of an earlier one of that key."""
        with plainly(self.path):
            keep_fact(self._database, "notes", key, value)

    def noted(self, key: str, default: Any = None) -> Any:
        """One fact, or the default."""
        with plainly(self.path):
            return facts(self._database, "notes").get(key, default)

    def put(self, kind: str, records: Mapping[bytes, bytes]) -> None:
        """Add records by their keys, each in the place of an earlier one."""
        with self.together():
            every = ((kind, key, value, _checksum(kind, key, value)) for key, value in records.items())
            self._database.executemany(PUT, every)

    def drop(self, kind: str, start: bytes = b"") -> None:
        """Forget the records of a kind whose key is not below `start`."""
        with plainly(self.path):
            self._database.execute("DELETE FROM records WHERE kind = ? AND key >= ?", (kind, start))

    def all(self, kind: str) -> Iterator[tuple[bytes, bytes]]:
        """Keys and values of a kind, in the order in which they first came; one at a time is in memory."""
        with plainly(self.path):
            yield from self._database.execute("SELECT key, value FROM records WHERE kind = ? ORDER BY rowid", (kind,))

    @property
    def empty(self) -> bool:
        """Whether no record was ever added."""
        with plainly(self.path):
            return not self._database.execute("SELECT 1 FROM records LIMIT 1").fetchall()

    def count(self, kind: str) -> int:
        """How many records of a kind there are."""
        return self._told("count(*)", kind)

    def size(self, kind: str) -> int:
        """How many bytes their values have in all."""
        return self._told("coalesce(sum(length(value)), 0)", kind)

    def _told(self, what: str, kind: str) -> int:
        with plainly(self.path):
            ((number,),) = self._database.execute(f"SELECT {what} FROM records WHERE kind = ?", (kind,)).fetchall()
        return int(number)

    def _prepare(self, job: Mapping[str, JSON], kind: str) -> None:
        # One process alone: with the lock come all pages, and a kill gives it back.
        for pragma in ("locking_mode = EXCLUSIVE", "journal_mode = WAL", "synchronous = NORMAL"):
            self._database.execute(f"PRAGMA {pragma}").fetchall()
        if begun(self._database, self.path, SCHEMA):
            check_whole(self._database)
            self._forget_damaged()
            facts(self._database, "notes")
        else:
            with self.together():
                for statement in TABLES:
                    self._database.execute(statement)
        if not self.empty:
            refuse_another(self._database, self.folder, kind, job)
            return
        with self.together():
            for table in ("job", "notes"):
                self._database.execute(f"DELETE FROM {table}")
            for key, value in job.items():
                keep_fact(self._database, "job", key, value)
        settle(self.folder)

    def _forget_damaged(self) -> None:
        every = self._database.execute("SELECT rowid, kind, key, value, checksum FROM records")
        damaged = [number for number, *record, expected in every if _or_none(*record) != expected]
        if damaged:
            self._database.executemany("DELETE FROM records WHERE rowid = ?", ((number,) for number in damaged))
            warnings.warn(
                f"{len(damaged)} records in {self.path} were damaged on the disk, and are forgotten.",
                StoreWarning,
                stacklevel=4,
            )


def _checksum(kind: str, key: bytes, value: bytes) -> bytes:
    return hashlib.sha256(b"".join((kind.encode(), b" ", key, b" ", value))).digest()


def _or_none(kind: Any, key: Any, value: Any) -> bytes | None:
    """The checksum, or None where not even the types are those that were written."""
    with suppress(TypeError, AttributeError):
        return _checksum(kind, key, value)
    return None
