"""A folder that one process writes and any number read: whose it is, who writes in it, and what went wrong in words."""

from __future__ import annotations

import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from struthio.checks import UserError

DATABASE, LOCK, PICTURES = "audit.sqlite", "audit.lock", "pictures"
REMOTE = {"9p", "afs", "ceph", "cifs", "fuse.sshfs", "glusterfs", "lustre", "nfs", "nfs4", "smb3", "smbfs"}


class StoreWarning(UserWarning):
    """Something in the folder of an audit was not as it should be, and was mended or may go wrong."""


class Damaged(Exception):
    """What was read is not what was written, and cannot be made again."""


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds files but no audit, so that nobody's data are mixed with ours."""
    ours = {LOCK, f"{LOCK}-journal", PICTURES}  # the second is what a kill leaves of a lock
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if strangers and not (folder / DATABASE).exists():
        some = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise UserError(f"{folder} holds other files ({some}) and no audit. Name a new or an empty folder with -o.")


@contextmanager
def plainly(folder: Path) -> Iterator[None]:
    """Turn what a full disk, a damaged database or missing rights raise into a UserError that says how to go on."""
    try:
        yield
    except (Damaged, OSError, sqlite3.DatabaseError) as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if isinstance(error, Damaged) or code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
            raise UserError(
                f"{folder / DATABASE} is damaged ({error}), so its verdicts cannot be trusted. Bring the folder back "
                "from a copy, or remove it and audit again; and have the disk checked."
            ) from error
        if not isinstance(error, (OSError, sqlite3.OperationalError)):
            raise
        why = (error.strerror if isinstance(error, OSError) else None) or error
        raise UserError(
            f"cannot read or write in {folder} ({why}). Is the disk full? What was finished is kept: make room and run "
            "the same again, it goes on from there."
        ) from error


def warn_if_remote(folder: Path) -> None:
    """Warn of a network file system."""
    if kind := remote_kind(folder):
        warnings.warn(
            f"{folder} is on a network file system ({kind}), whose locks and syncs cannot be relied on: a kill or a "
            "second process may damage the audit. A local folder is safer.",
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
