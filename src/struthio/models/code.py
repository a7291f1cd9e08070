"""A model from the user's own code: `file.py:factory` or `package.module:factory`."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from torch import nn

from struthio.checks import UserError, near_misses
from struthio.failed import raised
from struthio.models.sklearn import SklearnScores, is_classifier

RUN = "_struthio_user_"  # how the modules of files are called, before the name of the file


def from_code(spec: str) -> nn.Module:
    """The module that a factory returns, called without arguments; or the module itself, where it is one. A fitted
    classifier of scikit-learn will do as well.

    Raises UserError where the file, the module or the name does not exist, where the code raises, and where what comes
    back is no nn.Module.
    """
    place, _, name = spec.rpartition(":")
    home = run_file(place) if place.endswith(".py") else _from_package(place)
    if not hasattr(home, name):
        public = [known for known in vars(home) if not known.startswith("_")]
        raise UserError(f"{place} defines no {name!r}. {near_misses(name, public, 'names in it')}")
    found = getattr(home, name)
    if not isinstance(found, nn.Module) and not is_classifier(found):
        if not callable(found):
            raise UserError(
                f"{spec} is a {type(found).__name__}; an nn.Module or a function that returns one is needed."
            )
        try:
            found = found()
        except (Exception, SystemExit) as error:
            raise UserError(f"{spec}() failed: {raised(error)}. It is called without arguments.") from error
    if is_classifier(found):
        return SklearnScores(found)
    if not isinstance(found, nn.Module):
        raise UserError(f"{spec} returned a {type(found).__name__}; an nn.Module is needed.")
    return found


def files_run() -> dict[str, Path]:
    """The files that models were made from in this process, by their modules' names; another process that unpickles
    such a model must run them too.
    """
    homes = {name: module.__file__ for name, module in sys.modules.items() if name.startswith(RUN)}
    return {name: Path(home).resolve() for name, home in homes.items() if home}


def run_file(path: str | Path) -> ModuleType:
    """Run a file of the user as a module that nothing else is called by. Raises UserError where it cannot be run."""
    path = Path(path)
    if not path.is_file():
        raise UserError(f"there is no file {path}; a model in code is named FILE.py:FACTORY.")
    name = f"{RUN}{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickles in the user's file look their module up
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        inside = f". {_as_module(path)}" if "relative import" in str(error) else ""
        raise UserError(f"{path} cannot be run: {raised(error)}{inside}") from error
    finally:
        sys.path.pop(0)
    return module


def _from_package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        first = name.partition(".")[0]
        here = Path(first).is_dir() or Path(f"{first}.py").is_file()
        fix = (
            f"{first} lies in this folder, where Python does not look by itself: PYTHONPATH=. struthio ..."
            if here and getattr(error, "name", None) == first
            else "A model in code is named PACKAGE.MODULE:FACTORY."
        )
        raise UserError(f"{name} cannot be imported: {error}. {fix}") from error


def _as_module(path: Path) -> str:
    """How to name a file that belongs to a package: by the folders above it that hold an __init__.py."""
    top = path.resolve().parent.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    name = ".".join(path.resolve().relative_to(top).with_suffix("").parts)
    return f"It belongs to a package; name it within that: PYTHONPATH={top} struthio ... {name}:FACTORY"
