"""Read a folder of pictures as a data set: class sub-folders, a labels.csv, or no labels at all."""

from __future__ import annotations

import csv
from pathlib import Path

import torch

from struthio.checks import UserError
from struthio.data.pictures import SUFFIXES, pictures_in
from struthio.data.samples import Files, Samples, Size


def picture_folder(folder: Path, size: Size | None) -> Samples:
    """Pictures with the labels that the folder gives them; each is read when its row is.

    - `labels.csv` with the columns file and label: the label is a class number or a class name.
    - Sub-folders are classes, sorted by name; where all their names are whole numbers, these are the class numbers.
      (Ten folders of ImageNet are classes 0 to 9 here: to keep the network's own numbers, use labels.csv or numbers.)
    - Pictures directly in the folder have no labels.

    Photographs are fitted to `size` by `resize.Fit`. Raises UserError when the folder is empty or has two readings.
    """
    if (folder / "labels.csv").is_file():
        return _from_csv(folder, size)
    classes = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    inside = [_below(path) for path in classes]
    flat = pictures_in(folder)
    if flat and any(inside):
        raise UserError(
            f"{folder} holds {len(flat)} pictures and also sub-folders with pictures. Move the former into a class "
            "folder, or list all in a labels.csv with the columns file,label."
        )
    if flat:
        return Samples(Files(tuple(flat), size), None, None, folder.name, tuple(path.name for path in flat))
    if not any(inside):
        raise UserError(f"{folder} holds no picture ({', '.join(SUFFIXES)}), nor a data set that is known.")
    return _from_classes(folder, classes, inside, size)


def _below(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith("."))
    return sorted(path for path in found if path.is_file())


def _from_classes(folder: Path, classes: list[Path], inside: list[list[Path]], size: Size | None) -> Samples:
    texts = [path.name for path in classes]
    numbers, names = _numbered(texts, texts)
    paths = [path for group in inside for path in group]
    labels = [number for number, group in zip(numbers, inside, strict=True) for _ in group]
    return _samples(folder, paths, labels, names, size)


def _from_csv(folder: Path, size: Size | None) -> Samples:
    table = folder / "labels.csv"
    with table.open(newline="", encoding="utf-8-sig") as file:
        reader = csv.DictReader(file)
        if not {"file", "label"} <= set(reader.fieldnames or ()):
            raise UserError(f"{table} has the columns {reader.fieldnames}; it needs file and label.")
        rows = [(folder / (row["file"] or "").strip(), (row["label"] or "").strip()) for row in reader]
    for line, (path, label) in enumerate(rows, start=2):
        if not label:
            raise UserError(f"{table}, line {line}: {path.name} has no label.")
        if not path.is_file():
            raise UserError(f"{table}, line {line}: there is no file {path}.")
    texts = [label for _, label in rows]
    labels, names = _numbered(texts, sorted(set(texts)))
    return _samples(folder, [path for path, _ in rows], labels, names, size)


def _numbered(texts: list[str], classes: list[str]) -> tuple[list[int], tuple[str, ...] | None]:
    """Class numbers for these texts: the numbers that they are, or their places among the sorted classes."""
    if all(text.removeprefix("-").isdecimal() for text in texts):
        return [int(text) for text in texts], None
    place = {name: number for number, name in enumerate(classes)}
    return [place[text] for text in texts], tuple(classes)


def _samples(
    folder: Path, paths: list[Path], labels: list[int], names: tuple[str, ...] | None, size: Size | None
) -> Samples:
    shown = tuple(path.relative_to(folder).as_posix() for path in paths)
    return Samples(Files(tuple(paths), size), torch.tensor(labels, dtype=torch.int64), names, folder.name, shown)
