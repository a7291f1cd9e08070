"""Read CIFAR-10 in its published binary form: records of one label byte and 3,072 pixels, red, green, blue planes.

Krizhevsky 2009, Learning Multiple Layers of Features from Tiny Images. The "python version" is a pickle, which can
run code when it is opened, and is refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.data.samples import OnDisk, Samples, Size, Sized

RECORD = 1 + 3 * 32 * 32
CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
PATTERNS = {"train": "data_batch_*.bin", "test": "test_batch.bin"}


@dataclass(frozen=True)
class Records:
    """The pictures of several files of records, read as one without copying them together."""

    parts: tuple[OnDisk, ...]

    def __len__(self) -> int:
        return sum(map(len, self.parts))

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        ends = torch.tensor(list(accumulate(map(len, self.parts))))
        part = torch.searchsorted(ends, ids, right=True)
        out = torch.empty(len(ids), 3, 32, 32)
        for k in sorted(set(part.tolist())):
            inside = ids[part == k] - (ends[k] - len(self.parts[k]))
            levels = self.parts[k][inside.numpy()][:, 1:].reshape(-1, 3, 32, 32)
            out[part == k] = torch.from_numpy(levels).float() / 255
        return out


def is_cifar_folder(folder: Path) -> bool:
    """Whether a folder holds CIFAR-10 in either form."""
    return any(folder.glob("data_batch_*")) or any(folder.glob("test_batch*"))


def cifar_folder(folder: Path, split: str | None, size: Size | None) -> Samples:
    """The train or test part (the default) of the unpacked folder cifar-10-batches-bin."""
    split = split or "test"
    files = sorted(folder.glob(PATTERNS.get(split, ""))) if split in PATTERNS else []
    if files:
        return cifar_files(files, size)
    if (folder / "test_batch").exists() or (folder / "data_batch_1").exists():
        raise refused_pickle(folder)
    raise UserError(f"{folder} holds no CIFAR-10 part {split!r} ({PATTERNS.get(split, 'train and test are known')}).")


def cifar_files(files: list[Path], size: Size | None) -> Samples:
    """The records of these binary files, in order. UserError when a file is no whole number of records."""
    records = tuple(_records(path) for path in files)
    labels = torch.from_numpy(np.concatenate([part[:, 0] for part in records]).astype(np.int64))
    name = files[0].name if len(files) == 1 else f"{files[0].name} and {len(files) - 1} more"
    return Samples(Sized(Records(records), size), labels, CLASSES, name)


def refused_pickle(path: Path) -> UserError:
    """Why a pickle is not opened, and what to take instead."""
    return UserError(
        f"{path} is a Python pickle, which can run any code when it is opened, so it is refused. "
        "For CIFAR-10 take the binary version (cifar-10-binary.tar.gz); else save the arrays with numpy.savez."
    )


def _records(path: Path) -> OnDisk:
    length = path.stat().st_size
    if length == 0 or length % RECORD:
        raise UserError(
            f"{path} holds {length} bytes, no multiple of the {RECORD} of a CIFAR-10 record. "
            "Is it cut short, or another data set (CIFAR-100 has 3,074)?"
        )
    return OnDisk(path, np.dtype(np.uint8), 0, (length // RECORD, RECORD))
