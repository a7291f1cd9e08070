"""Read pictures and labels from a NumPy .npz archive; never a pickle, and uncompressed arrays stay on disk."""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.data.samples import Array, OnDisk, Samples, Size, Sized

PAIRS = (("x", "y"), ("images", "labels"), ("data", "labels"))
HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


def npz_file(path: Path, split: str | None, size: Size | None) -> Samples:
    """The rows of an archive with the arrays x and y, images and labels, or x_test and y_test (x_train with :train).

    Pictures are uint8, or floating point in [0, 1]; [n, H, W], NHWC or NCHW with 1 or 3 channels. Two-dimensional
    arrays are rows of features: floating-point ones are left in their own range. An array `class_names` (or `classes`)
    names the classes. Raises UserError for anything else, and for NaN, pickled arrays, or pixels outside [0, 1].
    """
    try:
        with zipfile.ZipFile(path) as archive:
            keys = [name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")]
            x_key, y_key = _choose(path, keys, split)
            x, where = _array(path, archive, x_key), f"{path}[{x_key!r}]"
            y = _labels(_array(path, archive, y_key)[:], f"{path}[{y_key!r}]") if y_key in keys else None
            named = next((key for key in ("class_names", "classes") if key in keys), None)
            names = None if named is None else tuple(map(str, _array(path, archive, named)[:].tolist()))
    except (zipfile.BadZipFile, OSError, EOFError, zlib.error, struct.error) as error:
        raise UserError(f"{path} is no whole .npz archive ({error}). Save it again with numpy.savez.") from error
    rows = Array(x, nhwc=_is_nhwc(x, where, size))
    _check_values(x, where)
    return Samples(Sized(rows, size), y, names, path.name)


def _choose(path: Path, keys: list[str], split: str | None) -> tuple[str, str]:
    """The names of the two arrays; the second need not be there."""
    splits = (f"_{split}",) if split else ("", "_test", "_val", "_train")
    for ending in splits:
        for x, y in PAIRS:
            if x + ending in keys:
                return x + ending, y + ending
    wanted = " or ".join(x + splits[0] for x, _ in PAIRS)
    raise UserError(f"{path} holds the arrays {', '.join(keys) or 'none'}; one named {wanted} is needed.")


def _array(path: Path, archive: zipfile.ZipFile, key: str) -> npt.NDArray[Any] | OnDisk:
    """One array: left on disk where it is stored as it is, else unpacked into memory."""
    info = archive.getinfo(key + ".npy")
    with archive.open(info) as member:
        version = np.lib.format.read_magic(member)  # type: ignore[no-untyped-call, unused-ignore]
        shape, fortran, dtype = HEADERS.get(version, HEADERS[(2, 0)])(member)  # type: ignore[no-untyped-call, unused-ignore]
        header = member.tell()
    if dtype.hasobject:
        raise UserError(
            f"{path}[{key!r}] holds Python objects, stored as a pickle, which can run code when it is opened; refused. "
            "Save it as a plain array: numpy.savez(file, x=x.astype('uint8'), y=y.astype('int64'))."
        )
    if info.compress_type != zipfile.ZIP_STORED or fortran or 0 in shape or not shape:
        with np.load(path, allow_pickle=False) as arrays:
            unpacked: npt.NDArray[Any] = arrays[key]
            return unpacked
    with path.open("rb") as file:
        file.seek(info.header_offset + 26)
        name, extra = struct.unpack("<HH", file.read(4))
    return OnDisk(path, dtype, info.header_offset + 30 + name + extra + header, shape)


def _is_nhwc(x: npt.NDArray[Any] | OnDisk, where: str, size: Size | None) -> bool:
    """Whether channels come last. UserError when neither or both places could be the channels."""
    if x.ndim in (2, 3):
        return False
    if x.ndim != 4:
        raise UserError(f"{where} has shape {x.shape}; pictures are [n, H, W], [n, H, W, C] or [n, C, H, W].")
    first, last = x.shape[1] in (1, 3), x.shape[3] in (1, 3)
    if first and last and size is not None and (x.shape[1:] == size) != ((x.shape[3], *x.shape[1:3]) == size):
        return x.shape[1:] != size
    if first == last:
        which = "both the second and the last could be" if first else "neither the second nor the last is 1 or 3:"
        raise UserError(f"{where} has shape {x.shape}; {which} the channels. Save grey or RGB as [n, C, H, W].")
    return last


def _check_values(x: npt.NDArray[Any] | OnDisk, where: str) -> None:
    """All values, a slice at a time, so that a file never stands in memory whole."""
    if x.dtype == np.uint8 or x.dtype == np.bool_ or len(x) == 0:
        return
    if not np.issubdtype(x.dtype, np.floating):
        raise UserError(f"{where} is {x.dtype}; save 8-bit levels as uint8, anything else as float32 in [0, 1].")
    step = max(1, 2**22 // max(1, x[0].size))
    for start in range(0, len(x), step):
        part = x[start : start + step]
        if not np.isfinite(part).all():
            row = start + int((~np.isfinite(part)).reshape(len(part), -1).any(1).argmax())
            raise UserError(f"{where} holds NaN or infinity, first in row {row}. Leave such rows out.")
        low, high = float(part.min()), float(part.max())
        if x.ndim > 2 and (low < -1e-6 or high > 1 + 1e-6):
            levels = low >= 0 and 1 < high <= 255
            fix = (
                "8-bit levels? Divide by 255, or save them as uint8"
                if levels
                else ("Undo its normalisation, and move it into the model: nn.Sequential(Normalize(mean, std), net)")
            )
            raise UserError(f"{where} spans [{low:.4g}, {high:.4g}], but pixels lie in [0, 1]. {fix}.")


def _labels(y: npt.NDArray[Any], where: str) -> Tensor:
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    if y.ndim != 1:
        raise UserError(f"{where} has shape {y.shape}; one class number a row is needed. From one-hot: y.argmax(1).")
    if not np.issubdtype(y.dtype, np.integer):
        raise UserError(f"{where} is {y.dtype}; whole class numbers are needed: y.astype('int64').")
    return torch.from_numpy(np.array(y).astype(np.int64))
