"""The tables of an audit's database, and findings as their rows under a checksum."""

from __future__ import annotations

import hashlib
import math
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import fields
from typing import Any

import torch
from torch import Tensor

from struthio.audit.findings import Findings
from struthio.data.database import FACTS, OURS, Damaged

SCHEMA = 2  # raise it with every change of the tables or of the columns of Findings
REAL = {"size", "margin", "smallest", "suspicion", "suspicion_adv"}
TRUTH = {"fell", "certified"}  # all other columns are whole numbers
COLUMNS = {
    field.name: torch.float64 if field.name in REAL else torch.bool if field.name in TRUTH else torch.int64
    for field in fields(Findings)
}
NAMES = ", ".join(f'"{name}"' for name in COLUMNS)
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
