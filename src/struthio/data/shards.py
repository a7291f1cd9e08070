"""Tensors in files that are whole or absent, also after a kill or a power cut, and whose damage is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path

from safetensors.torch import load, save
from torch import Tensor

from struthio.checks import UserError
from struthio.data.files import settle

SUFFIX, PART = ".safetensors", ".part"


def write(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write named tensors so that they are on the disk when this returns, and give the checksum of the file.

    The bytes go to a temporary file, which is renamed when it has reached the disk: no half-written file ever bears
    the name. Raises OSError, with nothing left behind, where there is no room.
    """
    data = save({name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in tensors.items()})
    beside = path.with_name(path.name + PART)
    try:
        with beside.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(beside, path)
        settle(path.parent)
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    return hashlib.sha256(data).hexdigest()


def read(path: Path, checksum: str) -> dict[str, Tensor]:
    """The tensors of a file. Raises UserError where it is gone or is not what was written."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path} cannot be read ({error.strerror or error}).") from error
    if hashlib.sha256(data).hexdigest() != checksum:
        raise UserError(f"{path} is not what was written there: torn, or changed since.")
    return load(data)


def whole(path: Path, checksum: str) -> bool:
    """Whether a file is what was written; read piece by piece, so that memory stays small."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() == checksum
    except OSError:
        return False


def sweep(folder: Path, keep: Iterable[str]) -> None:
    """Remove what a kill left in a folder of shards: temporary files, and shards that nobody knows of."""
    known = set(keep)
    for path in folder.iterdir():
        if path.name.endswith((PART, SUFFIX)) and path.name not in known:
            path.unlink(missing_ok=True)
