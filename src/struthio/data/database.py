"""What databases need that outlive a kill: one job each, every value under a checksum, plain words for what went wrong.

SQLite notices a torn page but not a changed digit, so everything that is kept has a checksum of its own.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from struthio.checks import UserError

JSON = None | bool | int | float | str | Sequence["JSON"] | Mapping[str, "JSON"]

OURS = 0x53545255  # "STRU", the application_id by which a database is known as ours
FACTS = "(key TEXT PRIMARY KEY, value TEXT, checksum TEXT) WITHOUT ROWID"  # the columns of a table of facts
REMOTE = {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}


class StoreWarning(UserWarning):
    """Something on the disk was not as it should be, and was mended or may go wrong."""


class Damaged(Exception):
    """What was read is not what was written, and cannot be made again."""


def begun(database: sqlite3.Connection, path: Path, schema: int) -> bool:
    """Whether the tables are there. Raises UserError for a database of another program or another version."""
    (whose,), (version,) = (
        database.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")
    )
    (tables,) = database.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if not tables and not whose and not version:
        return False
    if whose != OURS:
        raise UserError(f"{path} is a database of another program. Name another folder with -o.")
    if version != schema:
        age = "a newer" if version > schema else "an older"
        raise UserError(
            f"{path} was written by {age} version of struthio (tables {version}; this one writes {schema}). "
            "Go on with that version, or name another folder with -o."
        )
    return True


def check_whole(database: sqlite3.Connection) -> None:
    """Raise Damaged where SQLite itself finds the file torn."""
    ((verdict,),) = database.execute("PRAGMA quick_check(1)").fetchall()
    if verdict != "ok":
        raise Damaged(verdict)


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


def refuse_another(database: sqlite3.Connection, place: Path, kind: str, given: Mapping[str, JSON]) -> None:
    """Raise UserError, with what differs, where the table `job` holds another job than the one given.

    They are compared as text, since NaN does not even equal itself.

    Args:
        database: with that table.
        place: which holds it, for the message.
        kind: of job, such as "audit".
        given: by names, everything that the results depend on.
    """
    stored, asked = facts(database, "job"), json.loads(text(given))
    before, now = ({key: text(value) for key, value in job.items()} for job in (stored, asked))
    differ = [key for key in sorted(before | now) if before.get(key) != now.get(key)]
    if differ:
        what = "; ".join(f"{key}: given {_short(now.get(key))}, there {_short(before.get(key))}" for key in differ)
        raise UserError(
            f"{place} holds another {kind} ({what}). Give the same options to go on with it, or name another folder "
            "with -o."
        )


def _short(line: str | None) -> str:
    if line is None:
        return "nothing"
    return line if len(line) <= 80 else f"{line[:60]} ... {line[-15:]}"


@contextmanager
def plainly(path: Path) -> Iterator[None]:
    """Turn what a full disk, a damaged database or missing rights raise into a UserError that says how to go on."""
    try:
        yield
    except (Damaged, OSError, sqlite3.DatabaseError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise UserError(
                f"{path} is damaged ({error}), so what it says cannot be trusted. Bring the folder back from a copy, "
                "or remove it and begin again; and have the disk checked."
            ) from error
        if code == sqlite3.SQLITE_BUSY:
            raise UserError(
                f"another process is writing in {path.parent}. Wait until it has ended, or name another folder with -o."
            ) from error
        if not isinstance(error, (OSError, sqlite3.OperationalError)):
            raise
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(
            f"cannot read or write in {path.parent} ({why}). Is the disk full? What was finished is kept: make "
            "room and run the same again, it goes on from there."
        ) from error


def warn_if_remote(folder: Path) -> None:
    """Warn of a network file system."""
    if kind := remote_kind(folder):
        warnings.warn(
            f"{folder} is on a network file system ({kind}), whose locks and syncs cannot be relied on: a kill or a "
            "second process may damage what is kept there. A local folder is safer.",
            StoreWarning,
            stacklevel=3,
        )


def remote_kind(folder: Path, mounts: Path = Path("/proc/self/mounts")) -> str | None:
    """The kind of network file system that a folder lies on, or None where it is local or cannot be told."""
    try:
        lines = [line.split() for line in mounts.read_text().splitlines()]
    except OSError:
        return None
    here = folder.resolve()
    above = [
        (len(place), number, kind) for number, (_, place, kind, *_) in enumerate(lines) if here.is_relative_to(place)
    ]
    kind = max(above)[2] if above else ""  # the deepest mount, and of several there the last
    return kind if kind in REMOTE else None
