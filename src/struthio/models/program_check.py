"""Refuses a torch program (.pt2) whose file could run code of its own when it is loaded."""

from __future__ import annotations

import io
import json
import pickle
import re
import zipfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from struthio.checks import UserError

FOLDERS = ("data/weights/", "data/constants/", "data/sample_inputs/", "models/", "extra/", ".data/")
FILES = ("archive_format", "archive_version", "byteorder", "version")
PAYLOAD = re.compile(r"(weight|tensor|constant)_\d+")
# What a graph may call: torch's operators by namespace, name and overload; arithmetic; nothing that finds more to call.
TARGET = re.compile(
    r"torch\.ops\.\w+\.\w+(\.\w+)?|math\.\w+"
    r"|_operator\.(getitem|add|sub|mul|truediv|floordiv|mod|neg|pow|pos|abs|eq|ne|lt|le|gt|ge|and_|or_|not_)"
)
# What the size of a tensor may be made of: arithmetic and comparisons, none of which runs text.
CALLS = {
    *("Symbol", "Integer", "Float", "Rational", "Add", "Mul", "Pow", "PowByNatural", "Abs", "Max", "Min", "Mod"),
    *("PythonMod", "FloorDiv", "CleanDiv", "CeilDiv", "IntTrueDiv", "FloatTrueDiv", "ModularIndexing", "ToFloat"),
    *("TruncToInt", "FloorToInt", "CeilToInt", "floor", "ceiling", "And", "Or", "Not", "Eq", "Ne", "Equality"),
    *("Unequality", "GreaterThan", "LessThan", "StrictGreaterThan", "StrictLessThan", "size"),
}


def check_program(path: Path) -> None:
    """Refuse a .pt2 file that holds pickled code, native code, or expressions other than arithmetic of sizes.

    torch.export.load falls back to full unpickling, loads compiled libraries and evaluates expressions that it finds.
    """
    if not zipfile.is_zipfile(path):
        raise UserError(f"{path} is not an exported program. Write one with torch.export.save(exported, 'model.pt2').")
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
        if max(Counter(names).values()) > 1:
            _refuse(path, "it holds two records of one name")
        for name in names:
            inner = name.partition("/")[2]
            if not inner.startswith(FOLDERS) and inner not in FILES:
                _refuse(path, f"it holds {inner!r}, which is no part of a plain exported program")
            if inner.endswith(".json"):
                _check_json(path, archive, name)
            elif inner.endswith(".pt"):
                _check_pickle(path, name, archive.read(name))


def _check_json(path: Path, archive: zipfile.ZipFile, name: str) -> None:
    try:
        content = json.loads(archive.read(name))
    except ValueError as error:
        raise UserError(f"{path}: {name} cannot be read ({error}).") from error
    for key, value in _entries(content):
        if key == "target" and isinstance(value, str) and (not TARGET.fullmatch(value) or "__" in value):
            _refuse(path, f"its graph calls {value!r}")
        if key in ("expr_str", "guards_code"):
            for text in value if isinstance(value, list) else [value]:
                _check_expression(path, text)
        if key == "path_name" and not PAYLOAD.fullmatch(str(value)):
            _refuse(path, f"it holds the object {value!r}, which is not a plain tensor")
        if isinstance(value, dict) and value.get("use_pickle"):
            record = f"{name.rpartition('/')[0]}/{value.get('path_name')}"
            _check_pickle(path, record, archive.read(record))


def _entries(content: Any) -> Iterator[tuple[str, Any]]:
    """Every key and value of a JSON document, at any depth."""
    if isinstance(content, dict):
        for key, value in content.items():
            yield key, value
            yield from _entries(value)
    elif isinstance(content, list):
        for item in content:
            yield from _entries(item)


def _check_expression(path: Path, text: str) -> None:
    words = re.sub(r"(?<!\w)'\w+'", "", text)
    calls = set(re.findall(r"(\w+)\s*\(", words)) - {"and", "or", "not"}
    if not calls <= CALLS or re.search(r"__|[\"'`{};:@\\\n]|[\])]\s*\(|\b(lambda|import|for)\b", words):
        _refuse(path, f"it holds the expression {text[:80]!r}")


def _check_pickle(path: Path, name: str, content: bytes) -> None:
    if not content:
        return
    try:
        torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        _refuse(path, f"{name} is a pickle that needs code ({reason[:120]})")


def _refuse(path: Path, why: str) -> None:
    raise UserError(
        f"{path} is refused: {why}, and loading it could run code. Where you trust its source, load it in a file "
        "of your own and name that: file.py:factory."
    )
