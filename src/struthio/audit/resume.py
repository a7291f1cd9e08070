"""Begin the folder of an audit, or go on with it: the same job, nothing torn, no leftovers."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Mapping
from pathlib import Path

from struthio.audit import tables
from struthio.audit.folder import DATABASE, PICTURES
from struthio.data import shards
from struthio.data.database import (
    JSON,
    Damaged,
    StoreWarning,
    begun,
    check_whole,
    facts,
    keep_fact,
    refuse_another,
)
from struthio.data.files import settle


def prepare(folder: Path, database: sqlite3.Connection, job: Mapping[str, JSON]) -> None:
    """Make what is absent and look through what is there, as the only process that writes.

    Raises UserError for another job, Damaged for a database that cannot be mended.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    old = begun(database, folder / DATABASE, tables.SCHEMA)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):  # readers never wait; a commit is on the disk
        database.execute(f"PRAGMA {pragma}").fetchall()
    if old:
        _look_through(folder, database, job)
    else:
        _begin(database, job)
    shards.sweep(folder / PICTURES, [name for (name,) in database.execute("SELECT shard FROM batches")])
    for place in (folder / PICTURES, folder, folder.resolve().parent):
        settle(place)


def _begin(database: sqlite3.Connection, job: Mapping[str, JSON]) -> None:
    """All tables and the job, or nothing."""
    database.execute("BEGIN IMMEDIATE")
    with database:
        for statement in tables.TABLES:
            database.execute(statement)
        for key, value in job.items():
            keep_fact(database, "job", key, value)


def _look_through(folder: Path, database: sqlite3.Connection, job: Mapping[str, JSON]) -> None:
    check_whole(database)
    refuse_another(database, folder, "audit", job)
    facts(database, "notes")
    _forget_damaged(folder, database)


def _forget_damaged(folder: Path, database: sqlite3.Connection) -> None:
    """Take batches out that are not what was written, so that they are done again."""
    known = database.execute("SELECT * FROM batches").fetchall()
    for threat, batch, checksum, shard, shard_checksum in known:
        wrong = None
        try:
            tables.select(database, threat, batch, checksum)
        except Damaged:
            wrong = "its verdicts"
        if shard and not shards.whole(folder / PICTURES / shard, shard_checksum):
            wrong = wrong or f"its pictures, {shard}"
        if wrong:
            database.execute("DELETE FROM batches WHERE threat = ? AND batch = ?", (threat, batch))
            warnings.warn(
                f"batch {batch} of {threat} in {folder} was damaged on the disk ({wrong}) and will be done again.",
                StoreWarning,
                stacklevel=5,
            )
    database.execute("DELETE FROM findings WHERE (threat, batch) NOT IN (SELECT threat, batch FROM batches)")
