"""Begin the folder of an audit, or go on with it: the same job, nothing torn, no leftovers."""

from __future__ import annotations

import json
import sqlite3
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from struthio.audit import shards, tables
from struthio.audit.folder import DATABASE, PICTURES, Damaged, StoreWarning
from struthio.audit.tables import JSON
from struthio.checks import UserError
from struthio.data.files import settle


def prepare(folder: Path, database: sqlite3.Connection, job: Mapping[str, JSON]) -> None:
    """Make what is absent and look through what is there, as the only process that writes.

    Raises UserError for another job, Damaged for a database that cannot be mended.
    """
    (folder / PICTURES).mkdir(exist_ok=True)
    begun = tables.begun(database, folder / DATABASE)
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):  # readers never wait; a commit is on the disk
        database.execute(f"PRAGMA {pragma}").fetchall()
    if begun:
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
            tables.keep_fact(database, "job", key, value)


def _look_through(folder: Path, database: sqlite3.Connection, job: Mapping[str, JSON]) -> None:
    ((verdict,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise Damaged(verdict)
    _refuse_another(folder, tables.facts(database, "job"), json.loads(tables.text(job)))
    tables.facts(database, "notes")
    _forget_damaged(folder, database)


def _refuse_another(folder: Path, stored: dict[str, Any], given: dict[str, Any]) -> None:
    """Compared as text, since NaN does not even equal itself."""
    before, now = ({key: tables.text(value) for key, value in job.items()} for job in (stored, given))
    differ = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    if differ:
        what = "; ".join(f"{key}: given {_short(now.get(key))}, there {_short(before.get(key))}" for key in differ)
        raise UserError(
            f"{folder} holds another audit ({what}). Give the same options to go on with it, or name another folder "
            "with -o."
        )


def _short(text: str | None) -> str:
    if text is None:
        return "nothing"
    return text if len(text) <= 80 else f"{text[:60]} ... {text[-15:]}"


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
