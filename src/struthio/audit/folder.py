"""The folder of an audit: what is in it, whose it is, and what went wrong in words."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path

from struthio.checks import UserError
from struthio.data import database

DATABASE, LOCK, PICTURES = "audit.sqlite", "audit.lock", "pictures"


def refuse_foreign(folder: Path) -> None:
    """Refuse a folder that holds files but no audit, so that nobody's data are mixed with ours."""
    ours = {LOCK, f"{LOCK}-journal", PICTURES}  # the second is what a kill leaves of a lock
    strangers = sorted(path.name for path in folder.iterdir() if path.name not in ours)
    if strangers and not (folder / DATABASE).exists():
        some = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise UserError(f"{folder} holds other files ({some}) and no audit. Name a new or an empty folder with -o.")


def plainly(folder: Path) -> AbstractContextManager[None]:
    """What a full disk, a damaged database or missing rights raise, as a UserError that says how to go on."""
    return database.plainly(folder / DATABASE)
