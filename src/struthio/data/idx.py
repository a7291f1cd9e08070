"""Read the idx files that MNIST and its relatives are published in, plain or gzipped.

The format is described by LeCun, Cortes and Burges with the MNIST database: two zero bytes, a type, the number of
dimensions, each dimension as a big-endian 32-bit number, then the values.
"""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from struthio.checks import UserError
from struthio.data.samples import Array, OnDisk, Samples, Size, Sized

PREFIXES = {"train": ("train",), "test": ("t10k", "test")}


def is_idx(path: Path) -> bool:
    """Whether a file name looks like an idx file: x.idx, x-idx3-ubyte, x.idx3-ubyte, each also with .gz."""
    name = path.name.lower().removesuffix(".gz")
    return name.endswith((".idx", "-ubyte", ".ubyte"))


def idx_folder(folder: Path, split: str | None, size: Size | None) -> Samples:
    """The train or test part (the default) of a folder that holds the four files of MNIST."""
    split = split or "test"
    for path in sorted(folder.iterdir()):
        if is_idx(path) and "images" in path.name and path.name.startswith(PREFIXES.get(split, ())):
            return idx_file(path, size)
    raise UserError(f"{folder} holds idx files but no images of {split!r} (such as t10k-images-idx3-ubyte.gz).")


def idx_file(path: Path, size: Size | None) -> Samples:
    """The pictures of one idx file, with the labels from the file beside it where there is one."""
    images = read_idx(path)
    if images.ndim < 2:
        fix = f"give the file of its images: {path.name.replace('labels', 'images').replace('idx1', 'idx3')}"
        raise UserError(f"{path} holds one number a row: these are labels, not pictures; {fix}.")
    beside = path.with_name(path.name.replace("images", "labels").replace("idx3", "idx1"))
    if beside == path or not beside.exists():
        return Samples(Sized(Array(images), size), None, None, path.name)
    labels = torch.from_numpy(read_idx(beside)[:].astype(np.int64))
    return Samples(Sized(Array(images), size), labels, None, path.name)


def read_idx(path: Path) -> npt.NDArray[Any] | OnDisk:
    """The uint8 array of an idx file: a plain one is left on disk, a gzipped one is unpacked into memory.

    Raises UserError when it is cut short or holds another type.
    """
    content = _gunzipped(path) if path.suffix == ".gz" else None
    head, length = _plain_head(path) if content is None else (content[:20], len(content))
    if length == 0:
        raise UserError(f"{path} is empty (0 bytes). Copy or download it again.")
    if len(head) < 4 or head[:2] != b"\0\0" or not 1 <= head[3] <= 4:
        raise UserError(f"{path} is not an idx file: it begins with {head[:4].hex(' ')}, not 00 00 08 ...")
    if head[2] != 0x08:
        raise UserError(f"{path} holds values of idx type 0x{head[2]:02x}; only 8-bit values (0x08) are read.")
    start = 4 + 4 * head[3]
    if len(head) < start:
        raise UserError(f"{path} is cut short within its first {start} bytes. Copy or download it again.")
    shape = struct.unpack(f">{head[3]}I", head[4:start])
    if length - start != math.prod(shape):
        raise UserError(
            f"{path} announces {' x '.join(map(str, shape))} bytes but holds {length - start}. "
            "Copy or download it again."
        )
    if 0 in shape:
        raise UserError(f"{path} holds no rows: its shape is {shape}.")
    if content is None:
        return OnDisk(path, np.dtype(np.uint8), start, shape)
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _gunzipped(path: Path) -> bytes:
    try:
        with gzip.open(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path} is not a whole gzip file ({error}). Copy or download it again.") from error


def _plain_head(path: Path) -> tuple[bytes, int]:
    with path.open("rb") as file:
        return file.read(20), path.stat().st_size
