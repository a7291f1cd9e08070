"""Load a data set from one line of text: `data:digits`, a folder, an archive, a published file, or a hub's name."""

from __future__ import annotations

from pathlib import Path

from struthio.checks import UserError, near_misses
from struthio.data.bundled import bundled_digits, bundled_pictures
from struthio.data.cifar import cifar_files, cifar_folder, is_cifar_folder, refused_pickle
from struthio.data.folders import picture_folder
from struthio.data.hubs import hugging_face, torchvision
from struthio.data.idx import idx_file, idx_folder, is_idx
from struthio.data.npz import npz_file
from struthio.data.pictures import SUFFIXES, find_pictures, is_glob
from struthio.data.samples import Files, Samples, Size
from struthio.data.table import DATA

__all__ = ["DATA", "Samples", "load_data"]

SPLITS = ("train", "test", "val", "validation")
OFFLINE = ("data:digits", "data:digits:train", "data:pictures")
PICKLES = (".pkl", ".pickle", ".pt", ".pth", ".joblib")


def load_data(spec: str | Path, size: Size | None = None) -> Samples:
    """The data set that `spec` names, a text or a path (`DATA` lists the forms), its rows float32 in [0, 1], NCHW.

    With `size` = (channels, height, width), rows are brought to what a model wants when they are read: grey and RGB
    convert, photographs are fitted as ImageNet networks are evaluated (`resize.Fit`), arrays are stretched; rows of
    that size already are left as they are. Raises UserError when the data cannot be found, read or meant.
    """
    if size is not None and (len(size) != 3 or min(size) < 1):
        raise UserError(f"size is {size}; it must be (channels, height, width), each at least 1.")
    spec = str(spec)
    kind, _, rest = spec.partition(":")
    if kind == "data":
        return _bundled(spec, size)
    if kind in ("hf", "torchvision"):
        name, split = _split(rest, any_split=True)
        if not name:
            raise UserError(f"{spec!r} names no data set. Write {kind}:NAME or {kind}:NAME:SPLIT.")
        return (hugging_face if kind == "hf" else torchvision)(name, split, size)
    if kind in ("zoo", "timm"):
        raise UserError(f"{spec!r} names a model, not data. Give it to --model; data sets are: {', '.join(OFFLINE)}.")
    return _from_path(spec, size)


def _bundled(spec: str, size: Size | None) -> Samples:
    parts = spec.split(":")
    if parts[1:] == ["pictures"]:
        return bundled_pictures(size)
    if parts[1] == "digits" and len(parts) <= 3:
        return bundled_digits(parts[2] if len(parts) == 3 else None, size)
    raise UserError(f"there is no data set {spec!r}. {near_misses(spec, list(OFFLINE), 'data sets')}")


def _split(text: str, any_split: bool = False) -> tuple[str, str | None]:
    """`name:train` as name and train. In a path, only a known word after the colon is a split."""
    name, colon, last = text.rpartition(":")
    return (name, last) if colon and name and (any_split or last in SPLITS) else (text, None)


def _from_path(spec: str, size: Size | None) -> Samples:
    text, split = (spec, None) if Path(spec).expanduser().exists() else _split(spec)
    path = Path(text).expanduser()
    if path.is_dir():
        return _from_folder(path, split, size)
    if path.is_file():
        return _from_file(path, split, size)
    if is_glob(text):
        paths = find_pictures([text])
        return Samples(Files(tuple(paths), size), None, None, text, tuple(path.name for path in paths))
    close = near_misses(text, list(OFFLINE), "data sets")
    raise UserError(f"there is no file or folder {text!r}, and no data set of that name. {close}")


def _from_folder(folder: Path, split: str | None, size: Size | None) -> Samples:
    if is_cifar_folder(folder):
        return cifar_folder(folder, split, size)
    if any(is_idx(path) for path in folder.iterdir()):
        return idx_folder(folder, split, size)
    if split is None:
        return picture_folder(folder, size)
    if (folder / split).is_dir():
        return picture_folder(folder / split, size)
    raise UserError(f"{folder} has no sub-folder {split!r}. Without ':{split}' the whole folder is read.")


def _from_file(path: Path, split: str | None, size: Size | None) -> Samples:
    suffix = path.suffix.lower()
    if suffix == ".npz":
        return npz_file(path, split, size)
    if split is not None:
        raise UserError(f"{path} is one file without parts; leave out ':{split}'.")
    if is_idx(path):
        return idx_file(path, size)
    if suffix == ".bin":
        return cifar_files([path], size)
    if suffix in SUFFIXES:
        return Samples(Files((path,), size), None, None, path.name, (path.name,))
    if suffix in PICKLES or path.name.startswith(("data_batch_", "test_batch")):
        raise refused_pickle(path)
    if suffix == ".npy":
        raise UserError(f"{path} is one array without labels. Save both: numpy.savez('rows.npz', x=x, y=labels).")
    if suffix in (".gz", ".tar", ".tgz", ".zip"):
        raise UserError(f"{path} is an archive. Unpack it and name the folder.")
    kind = suffix or "a file without suffix"
    raise UserError(f"{path} ({kind}) is of no kind that is read as data. `struthio list data` shows the kinds.")
