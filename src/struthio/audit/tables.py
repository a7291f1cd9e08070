"""The tables of an audit's database, and findings and facts as their rows, each under a checksum.

SQLite notices a torn page but not a changed digit, so everything that is kept has a checksum of its own.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from struthio.audit.findings import Findings
from struthio.audit.folder import Damaged
from struthio.checks import UserError

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

SCHEMA = 2  # raise it with every change of the tables or of the columns of Findings
OURS = 0x53545255  # "STRU", the application_id by which a database is known as an audit's
REAL = {"size", "margin", "smallest", "suspicion", "suspicion_adv"}
TRUTH = {"fell", "certified"}  # all other columns are whole numbers
COLUMNS = {
    field.name: torch.float64 if field.name in REAL else torch.bool if field.name in TRUTH else torch.int64
    for field in fields(Findings)
}
NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
FACTS = "(key TEXT PRIMARY KEY, value TEXT, checksum TEXT) WITHOUT ROWID"
TABLES = (
    f"CREATE TABLE job {FACTS}",
    f"CREATE TABLE notes {FACTS}",
    "CREATE TABLE batches (threat TEXT, batch INTEGER, checksum TEXT, shard TEXT, shard_checksum TEXT,"
    " PRIMARY KEY (threat, batch)) WITHOUT ROWID",
    f"CREATE TABLE findings (threat TEXT, batch INTEGER, place INTEGER, {NAMES},"
    " PRIMARY KEY (threat, batch, place)) WITHOUT ROWID",
    f"PRAGMA application_id = {OURS}",
    f"PRAGMA user_version = {SCHEMA}",
)


def begun(database: sqlite3.Connection, path: Path) -> bool:
    """Whether the tables are there. Raises UserError for a database of another program or another version."""
    (whose,), (version,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not whose and not version:
        return False
    if whose != OURS:
        raise UserError(f"{path} is a database of another program. Name another folder with -o.")
    if version != SCHEMA:
        age = "a newer" if version > SCHEMA else "an older"
        raise UserError(
            f"{path} was written by {age} version of struthio (tables {version}; this one writes {SCHEMA}). "
            "Go on with that version, or name another folder with -o."
        )
    return True


def text(value: JSON) -> str:
    """A JSON value as the one text that stands for it, in whatever order its keys were given."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


def digest(line: str) -> str:
    """The checksum of a text."""
    return hashlib.sha256(line.encode()).hexdigest()


def keep_fact(database: sqlite3.Connection, table: str, key: str, value: JSON) -> None:
    """Keep a JSON value under a key, in the place of an earlier one."""
    line = json.dumps(value, ensure_ascii=False)  # in the order given, in which reports list it
    database.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?, ?)", (key, line, digest(key + line)))


def facts(database: sqlite3.Connection, table: str) -> dict[str, Any]:
    """All values by their keys. Raises Damaged where one was changed on the disk."""
    found = {}
    for key, line, expected in database.execute(f"SELECT key, value, checksum FROM {table} ORDER BY key"):
        if digest(f"{key}{line}") != expected:
            raise Damaged(f"{key!r} in {table} is not what was written")
        found[key] = json.loads(line)
    return found


def settled(findings: Findings) -> Findings:
    """Findings in the form that comes back from the database: on the CPU, one NaN, no negative zero."""

    def column(name: str, dtype: torch.dtype) -> Tensor:
        values: Tensor = getattr(findings, name).detach().to("cpu", dtype)
        return torch.where(values.isnan(), torch.nan, values + 0.0) if dtype == torch.float64 else values

    return Findings(**{name: column(name, dtype) for name, dtype in COLUMNS.items()})


def insert(database: sqlite3.Connection, threat: str, batch: int, findings: Findings) -> None:
    """Write settled findings, one row a row; NaN becomes NULL, since SQLite knows no other way."""
    columns = [getattr(findings, name).tolist() for name in COLUMNS]
    marks = ", ".join("?" * (3 + len(columns)))
    rows = zip(*columns, strict=True)
    every = ((threat, batch, place, *row) for place, row in enumerate(rows))
    database.executemany(f"INSERT INTO findings VALUES ({marks})", every)


def select(database: sqlite3.Connection, threat: str, batch: int, expected: str) -> Findings:
    """The findings of one batch, as they were settled. Raises Damaged where their checksum is not the expected one."""
    query = f"SELECT {NAMES} FROM findings WHERE threat = ? AND batch = ? ORDER BY place"
    with closing(database.execute(query, (threat, batch))) as cursor:
        rows = cursor.fetchall()
    columns: list[tuple[Any, ...]] = list(zip(*rows, strict=True)) if rows else [()] * len(COLUMNS)
    try:
        named = zip(COLUMNS.items(), columns, strict=True)
        found = Findings(**{name: _tensor(values, dtype) for (name, dtype), values in named})
    except (TypeError, ValueError, OverflowError) as error:
        raise Damaged(f"batch {batch} of {threat}: {error}") from error
    if checksum(found) != expected:
        raise Damaged(f"batch {batch} of {threat} is not what was written")
    return found


def _tensor(values: Sequence[Any], dtype: torch.dtype) -> Tensor:
    if dtype == torch.float64:
        values = [math.nan if value is None else value for value in values]
    return torch.tensor(values, dtype=dtype)


def checksum(findings: Findings) -> str:
    """The checksum of settled findings, over the bytes of every column."""
    total = hashlib.sha256()
    for name in COLUMNS:
        total.update(getattr(findings, name).numpy().tobytes())
    return total.hexdigest()
