"""Write files so that they are either whole or absent, and learn early that a folder cannot be written."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError

from struthio.checks import UserError


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


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A temporary path beside `path` that takes its place when the block ends well, and vanishes when it does not.

    Raises UserError when the folder cannot be written or the disk is full.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        yield beside
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
