"""The command line. `main` is the door; each command lives in its own file and is imported when it is called."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and give its exit status: 0 done, 1 not reached, 2 a mistake in the input, 130 Ctrl-C."""
    # Threads that wait by spinning slow each other several times over on a busy machine. Read before torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from struthio.cli.app import run

    try:
        status = run(sys.argv[1:] if arguments is None else list(arguments))
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # the reader, such as `head`, has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
