"""Weights from a file, and nothing but weights: a checkpoint is never run."""

from __future__ import annotations

import pickle
import re
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from struthio.checks import UserError

WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "params", "weights", "model_ema", "ema")
OWN_LOADER = (
    "where you trust it, load it in a function of your own that returns torch.jit.load(FILE): FILE.py:FUNCTION."
)


def load_weights(model: nn.Module, path: str | Path) -> nn.Module:
    """Put the weights of a .safetensors file or a weights-only checkpoint into a model.

    Wrappers such as {"state_dict": ...} and prefixes that all names share, such as "module.", are taken off. Raises
    UserError for a missing or torn file, a pickle that would run code, and names or shapes that do not fit, with a few
    of them.
    """
    state = _strip(_read(Path(path)), set(model.state_dict()))
    try:
        missing, unexpected = model.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise UserError(f"the weights in {path} do not fit the model: {str(error).splitlines()[-1].strip()}") from error
    if missing or unexpected:
        raise UserError(
            f"the weights in {path} do not fit the model: {_few(missing)} missing, {_few(unexpected)} not known to it. "
            "Is this the checkpoint of another architecture?"
        )
    return model


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    return f"{len(names)} ({shown})" if names else "0"


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise UserError(f"there is no file {path} to load weights from.")
    found: Any
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(path)
        except SafetensorError as error:
            raise UserError(f"{path} is no whole .safetensors file: {error}.") from error
    if torchscript(path):
        raise UserError(f"{path} is a TorchScript program, not weights alone: leave out the weights, and {OWN_LOADER}")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f"{path} holds more than weights, and loading it would run code that is written in it; it was refused "
            f"({_reason(error)}). Save the weights alone, where you trust the file: "
            "torch.save(model.state_dict(), FILE), or as .safetensors."
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError) as error:
        raise UserError(f"{path} is no whole checkpoint ({type(error).__name__}: {_sentence(error)}).") from error
    return _unwrap(found, path)


def torchscript(path: Path) -> bool:
    """Whether a file is a program that torch.jit.save wrote, which would bring code of its own."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.partition("/")[2].startswith("code/") for name in archive.namelist())


def _reason(error: BaseException) -> str:
    named = re.search(r"GLOBAL ([\w.]+)", str(error))
    return f"it needs {named[1]}" if named else "it is not a weights-only checkpoint"


def _sentence(error: BaseException) -> str:
    """The first sentence of a message: torch's later ones advise to load with everything allowed."""
    return re.split(r"[.\n](?:\s|$)", str(error).strip())[0]


def _unwrap(found: Any, path: Path) -> dict[str, Tensor]:
    while isinstance(found, dict) and (inner := [found[key] for key in WRAPPERS if isinstance(found.get(key), dict)]):
        found = inner[0]
    if not isinstance(found, dict) or not any(isinstance(value, Tensor) for value in found.values()):
        raise UserError(f"{path} holds a {type(found).__name__} and no named tensors; a state dict is needed.")
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


def _strip(state: dict[str, Tensor], wanted: set[str]) -> dict[str, Tensor]:
    """Take off the first part of all names, as long as all share it and none is known to the model."""
    while not wanted & set(state) and all("." in name for name in state):
        if len({name.partition(".")[0] for name in state}) > 1:
            break
        state = {name.partition(".")[2]: value for name, value in state.items()}
    return state
