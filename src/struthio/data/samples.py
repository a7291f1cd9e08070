"""A data set as rows that are read when they are asked for, and the batches that stream from it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from struthio.checks import UserError, positive
from struthio.data.pictures import read_picture
from struthio.data.resize import to_size

Size = tuple[int, int, int]  # channels, height, width: what a model wants


class Rows(Protocol):
    """Rows that can be counted and read by their numbers; a tensor [n, ...] is one."""

    def __len__(self) -> int:
        """How many rows there are."""
        ...

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        """The rows with these numbers (int64 [b]), float32 [b, ...]."""
        ...


@dataclass(frozen=True, eq=False)
class Samples:
    """A data set: rows x float32 in [0, 1], class numbers y int64 [n] or None, and what they are called.

    `names` has one text a row where rows have names (file names). Raises UserError when it is empty, when y is of
    another length than x, or when a class number is negative or has no class name.
    """

    x: Rows
    y: Tensor | None
    class_names: tuple[str, ...] | None = None
    name: str = "data"
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if len(self.x) == 0:
            raise UserError(f"{self.name} holds no rows.")
        if self.y is None:
            return
        if self.y.ndim != 1 or len(self.y) != len(self.x):
            shape = tuple(self.y.shape)
            raise UserError(f"{self.name} holds {len(self.x)} rows but labels of shape {shape}; one a row is needed.")
        lowest, highest = int(self.y.min()), int(self.y.max())
        if lowest < 0:
            raise UserError(f"{self.name} holds the label {lowest}; class numbers start at 0.")
        if self.class_names is not None and highest >= len(self.class_names):
            raise UserError(f"{self.name} holds the label {highest} but names only {len(self.class_names)} classes.")

    def __len__(self) -> int:
        return len(self.x)

    def batches(
        self, size: int, start: int = 0, stop: int | None = None
    ) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Stream rows start..stop as (ids int64 [b], x float32 [b, ...], y int64 [b] or None), b <= size.

        Only one batch is held at a time. A `stop` beyond the end means the end.
        """
        positive(size, "size")
        stop = len(self) if stop is None else min(stop, len(self))
        if not 0 <= start <= stop:
            raise UserError(f"rows {start} to {stop} of {self.name} were asked for; it has rows 0 to {len(self)}.")
        for first in range(start, stop, size):
            ids = torch.arange(first, min(first + size, stop))
            yield ids, self.x[ids], None if self.y is None else self.y[ids]


@dataclass(frozen=True)
class Sized:
    """Rows brought to the size that a model wants, when they are read."""

    rows: Rows
    size: Size | None
    mode: str = "squash"

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        return to_size(self.rows[ids], self.size, self.mode)


@dataclass(frozen=True)
class OnDisk:
    """An array that lies plainly in a file. It is mapped anew for each read, so that pages once read do not pile up."""

    path: Path
    dtype: np.dtype[Any]
    offset: int
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """The number of dimensions."""
        return len(self.shape)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any, /) -> npt.NDArray[Any]:
        return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows])


@dataclass(frozen=True)
class Array:
    """Rows of a NumPy array, in memory or on disk: 8-bit levels become [0, 1], NHWC becomes NCHW."""

    array: npt.NDArray[Any] | OnDisk
    nhwc: bool = False

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        taken = np.asarray(self.array[ids.numpy()])
        x = torch.from_numpy(taken.astype(np.float32))
        x = x / 255 if taken.dtype == np.uint8 else x
        x = x.unsqueeze(1) if x.ndim == 3 else x
        return x.permute(0, 3, 1, 2).contiguous() if self.nhwc and x.ndim == 4 else x


@dataclass(frozen=True)
class Files:
    """Pictures on the disk, each read when its row is."""

    paths: tuple[Path, ...]
    size: Size | None = None

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        chosen = [self.paths[i] for i in ids.tolist()]
        pictures = [to_size(read_picture(path)[None], self.size)[0] for path in chosen]
        return stack(pictures, [str(path) for path in chosen])


def stack(pictures: Sequence[Tensor], names: Sequence[str]) -> Tensor:
    """One batch of pictures of one size; UserError names the first two that differ."""
    for picture, name in zip(pictures, names, strict=True):
        if picture.shape != pictures[0].shape:
            raise UserError(
                f"{names[0]} is {_measure(pictures[0])} and {name} is {_measure(picture)}; a batch needs one size. "
                "Name it: size=(channels, height, width)."
            )
    return torch.stack(list(pictures))


def _measure(picture: Tensor) -> str:
    return f"{picture.shape[-1]} x {picture.shape[-2]}"
