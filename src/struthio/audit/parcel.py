"""What is sent to a worker: a call, and the user's own files that must be run before it can be unpacked."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from struthio.checks import UserError


@dataclass(frozen=True)
class Parcel:
    """A call that is made where the parcel arrives. Pickled by us and for us, and never kept.

    Attributes:
        content: the pickled call.
        files: Python files that models were loaded from (`FILE.py:FACTORY`), by their full names; their classes are
            known to no import.
    """

    content: bytes
    files: tuple[str, ...]

    @classmethod
    def pack(cls, call: Callable[[], Any], dumps: Callable[[Any], bytes] = pickle.dumps) -> Parcel:
        """Raises UserError for what only this process knows."""
        try:
            content = dumps(call)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise UserError(
                f"the job cannot be sent to other processes ({error}). Define the model's class or function in a "
                "module (no lambda, nothing inside a function), or work without workers."
            ) from error
        code = sys.modules.get("struthio.models.code")  # where nothing was loaded, nothing is needed
        run = code.files_run() if code else {}
        return cls(content, tuple(str(path) for name, path in run.items() if name.encode() in content))

    def __call__(self) -> Any:
        """Run the files, unpack the call and make it."""
        if self.files:
            from struthio.models.code import run_file

            for path in self.files:
                run_file(path)
        return pickle.loads(self.content)()
