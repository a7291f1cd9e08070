"""Recipe files: a model, its rows, a recipe and a plan in TOML; and the models that were trained by one."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from struthio import models
from struthio.checks import UserError, near_misses
from struthio.train import checkpoint
from struthio.train.plan import Plan
from struthio.train.recipe import Recipe
from struthio.train.tables import Reader, Table

SHIPPED = Path(__file__).parent / "recipes"


@dataclass(frozen=True)
class Hardening:
    """A recipe file, read.

    Attributes:
        recipe: the loss.
        model: the spec of what is trained; None where the file leaves it open.
        data: the rows, or None.
        held: rows for the evaluation, or None.
        plan: everything else.
        table: the file as it was written.
    """

    recipe: Recipe
    model: str | None
    data: str | None
    held: str | None
    plan: Plan
    table: Table


def shipped() -> dict[str, str]:
    """The ready recipe files by name, each with its first line."""
    files = sorted(SHIPPED.glob("*.toml"))
    return {file.stem: file.read_text().partition("\n")[0].removeprefix("#").strip() for file in files}


def shipped_text(name: str) -> str | None:
    """A ready recipe file as it is written, or None where there is none of that name."""
    path = SHIPPED / f"{name.lower()}.toml"
    return path.read_text() if path.is_file() else None


def read(given: str) -> Hardening:
    """A recipe file by its path, or a shipped one by its name. Raises UserError with all mistakes that are in it."""
    path = Path(given).expanduser()
    if not path.is_file():
        path = SHIPPED / f"{given.lower()}.toml"
    if not path.is_file():
        ready = near_misses(given, list(shipped()), "ready recipes")
        raise UserError(f"there is no recipe file {given!r}, and no ready recipe of that name. {ready}")
    try:
        table = tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UserError(f"{given} is no TOML: {error}.") from error
    return understood(table, given)


def understood(table: Table, name: str) -> Hardening:
    """The same from a table. Raises UserError as `read` does; `name` is how it is called there."""
    kinds = {"model": str | None, "data": str | None, "held": str | None, "recipe": Recipe, "plan": Plan | None}
    reader = Reader(_frozen)
    found = reader.read(table, kinds)
    if found is None:
        count = "one mistake" if len(reader.mistakes) == 1 else f"{len(reader.mistakes)} mistakes"
        raise UserError(f"{name} holds {count}:" + "".join(f"\n  {mistake}" for mistake in reader.mistakes))
    found["plan"] = found["plan"] or Plan()
    return Hardening(**found, table=table)


def earlier(folder: str | Path) -> nn.Module:
    """The model that `struthio harden -o FOLDER` trained, in evaluation mode.

    Raises UserError where there is none, or where it cannot be built again.
    """
    path = Path(folder).expanduser() / checkpoint.RESULT
    if not path.is_file():
        raise UserError(f"{folder} holds no trained model: there is no {checkpoint.RESULT} in it.")
    tensors, facts = checkpoint.read(path)
    if "recipe" not in facts:
        raise UserError(f"{path} does not say how it was trained; load it with struthio.load(SPEC, weights=FILE).")
    recipe = understood(facts["recipe"], str(path)).recipe
    model = recipe.finish(recipe.prepare(models.load(str(facts["model"]))))
    checkpoint.fitting(model, tensors, str(path))
    return model.eval()


def _frozen(spec: str) -> Any:
    model = earlier(spec) if Path(spec).expanduser().is_dir() else models.load(spec)
    return model.requires_grad_(False)
