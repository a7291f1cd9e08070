"""Write files so that they are whole or absent, learn early that a folder cannot be written, and write in it alone."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from safetensors import SafetensorError

from struthio.checks import UserError

if TYPE_CHECKING:
    from sqlite3 import Connection


def writable_folder(path: str | Path) -> Path:
    """Make the folder where it is absent and try to write in it, so that no work is done in vain.

    Raises UserError when it cannot be made or written, or when a file stands in its place.
    """
    folder = Path(path).expanduser()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder} is a file; a folder to write into is needed. Name another with -o.")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(
            f"cannot write into {folder} ({error.strerror or error}). Name a folder that you may write to with -o."
        ) from error
    return folder


def claim(folder: Path, name: str) -> Connection:
    """The right to write in a folder, held until the connection is closed or its process dies in whatever way.

    It is an exclusive transaction on an empty database: SQLite's own locks are there on every system, are not inherited
    by child processes, and leave nothing behind to clear away.

    Raises UserError where another process has it, and sqlite3.OperationalError where the file system knows no locks.

    Args:
        folder: which must be there.
        name: of the empty file in it that is locked.
    """
    import sqlite3

    lock = sqlite3.connect(folder / name, timeout=0, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError as error:
        lock.close()
        if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
            raise
        raise UserError(
            f"another process is writing in {folder}. Wait until it has ended, or name another folder with -o."
        ) from error
    return lock


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Whoever may read other new files may read this one: safetensors alone would keep it to the user.

    Raises UserError when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        beside.touch()
        mode = beside.stat().st_mode
        beside.unlink()
        yield beside
        os.chmod(beside, mode)
        os.replace(beside, path)
    except (OSError, SafetensorError) as error:  # the second is how safetensors tells of a full disk
        why = getattr(error, "strerror", None) or error
        raise UserError(f"cannot write {path} ({why}). Is the folder there, and the disk not full?") from error
    finally:
        with suppress(OSError):
            beside.unlink()


def settle(folder: Path) -> None:
    """Bring the names in a folder to the disk: a renamed file whose folder was not synced may vanish in a power cut."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
