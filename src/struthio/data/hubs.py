"""Thin adapters for data sets that other libraries load: Hugging Face `datasets` and torchvision."""

from __future__ import annotations

import inspect
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from struthio.checks import UserError, near_misses, need
from struthio.data.decode import pixels
from struthio.data.resize import to_size
from struthio.data.samples import Samples, Size, stack

PICKLED = ("CIFAR10", "CIFAR100")


@dataclass(frozen=True)
class Items:
    """Rows that a library gives one at a time: `items[i]` holds a Pillow picture under `key`."""

    items: Any
    key: Any
    size: Size | None
    name: str

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, ids: Tensor, /) -> Tensor:
        names = [f"{self.name}[{i}]" for i in ids.tolist()]
        read = [self._read(i, name) for i, name in zip(ids.tolist(), names, strict=True)]
        return stack([to_size(picture[None], self.size)[0] for picture in read], names)

    def _read(self, row: int, name: str) -> Tensor:
        picture = self.items[row][self.key]
        if not isinstance(picture, Image.Image):
            raise UserError(f"{name} is a {type(picture).__name__}, not a picture.")
        return pixels(picture, name)


def hugging_face(name: str, split: str | None, size: Size | None) -> Samples:
    """A data set of the Hugging Face hub, or a local folder in its form; the test part unless another is named.

    Its picture column and its class column are found by their types. No code of the data set is ever run.
    """
    library = need("datasets", "hf")
    try:
        splits = list(library.get_dataset_split_names(name))
        split = split or next((known for known in ("test", "validation") if known in splits), splits[0])
        if split not in splits:
            raise UserError(f"hf:{name} has the parts {', '.join(splits)}, not {split!r}.")
        table = library.load_dataset(name, split=split)
    except UserError:
        raise
    except Exception as error:  # whatever the hub or the network says
        raise UserError(f"hf:{name} cannot be loaded ({type(error).__name__}: {error}). Is the name right?") from error
    pictures, labels = _columns(table, "Image"), _columns(table, "ClassLabel")
    if not pictures:
        raise UserError(f"hf:{name} has no column of pictures; its columns are {', '.join(table.features)}.")
    rows = Items(table, pictures[0], size, f"hf:{name}")
    y = torch.tensor(list(table[labels[0]]), dtype=torch.int64) if labels else None
    if y is None or bool((y < 0).all()):  # a hidden test part is labelled -1 throughout
        return Samples(rows, None, None, f"hf:{name}:{split}")
    return Samples(rows, y, tuple(table.features[labels[0]].names), f"hf:{name}:{split}")


def _columns(table: Any, kind: str) -> list[str]:
    return [column for column, feature in table.features.items() if type(feature).__name__ == kind]


def torchvision(name: str, split: str | None, size: Size | None) -> Samples:
    """A data set of torchvision by its class name (MNIST, SVHN, ...); the test part unless another is named.

    It is kept under the user's cache folder. CIFAR there is a pickle and refused: take the binary version.
    """
    if name in PICKLED:
        raise UserError(
            f"torchvision reads {name} from a pickle, which can run code when it is opened, so it is refused. "
            "Take the binary version of CIFAR-10 (cifar-10-binary.tar.gz) and name its unpacked folder."
        )
    library = need("torchvision.datasets", "torchvision")
    if name not in getattr(library, "__all__", ()):
        known = [other for other in getattr(library, "__all__", ()) if other not in PICKLED]
        raise UserError(f"torchvision has no data set {name!r}. {near_misses(name, known, 'torchvision data sets')}")
    split = split or "test"
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "struthio" / "torchvision"
    maker = getattr(library, name)
    options = inspect.signature(maker).parameters
    which = {"split": split} if "split" in options else {"train": split == "train"}
    try:
        items = maker(str(root), download=True, **which)
    except Exception as error:  # whatever the library or the network says
        raise UserError(f"torchvision:{name} cannot be loaded ({type(error).__name__}: {error}).") from error
    return Samples(Items(items, 0, size, name), _targets(items, name), _classes(items), f"{name}:{split}")


def _targets(items: Any, name: str) -> Tensor:
    """The class numbers, without decoding the pictures; torchvision keeps them under one of three names."""
    for attribute in ("targets", "labels", "_labels"):
        if (targets := getattr(items, attribute, None)) is not None:
            return torch.as_tensor(targets).long()
    raise UserError(f"torchvision:{name} keeps no list of class numbers. Save it as an image folder instead.")


def _classes(items: Any) -> tuple[str, ...] | None:
    names = getattr(items, "classes", None)
    return tuple(map(str, names)) if names else None
