"""What an earlier attack on an endpoint left unfinished in a folder, so that the same command goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from struthio.checks import UserError
from struthio.cli import terminal
from struthio.cli.saving import ANSWERS, ROWS, SUMMARY
from struthio.cli.tally import Columns
from struthio.data.files import replacing
from struthio.models import Endpoint


@dataclass(frozen=True)
class Earlier:
    """The rows that were finished, and what they and others cost.

    Attributes:
        rows: a table of them, from the first row of the data on.
        sent: how many inputs the endpoint was sent.
        unsure: how many of these it may not have worked on.
        answers: what it answered, so that rows begun anew do not ask it again.
    """

    rows: pa.Table
    sent: int
    unsure: int
    answers: Mapping[str, Tensor]

    def columns(self) -> Columns:
        """The finished rows as they are counted."""
        return {name: column.to_numpy() for name, column in zip(self.rows.schema.names, self.rows.columns, strict=True)}

    def go_on(self, endpoint: Endpoint, folder: Path, rows: int) -> None:
        """Charge the endpoint with what was spent, tell it what is known, and say that the run goes on."""
        done = self.rows.num_rows
        if done >= rows:
            raise UserError(
                f"{folder} holds {done} finished rows of this attack, and {rows} are asked for. Raise -n, or "
                "name another folder with -o."
            )
        endpoint.asked, endpoint.unsure = self.sent, self.unsure
        endpoint.recall(self.answers)
        terminal.note(
            f"{folder} holds {done} finished rows of this attack, which ended early, and {len(self.answers['keys']):,} "
            f"answers: it goes on with the other {rows - done}. So far {endpoint.spent()}."
        )


def earlier(folder: Path, attack: Mapping[str, Any]) -> Earlier | None:
    """What the folder holds of this attack, as its summary names it; None where it holds none or all of it, or another
    unfinished attack, which is said.
    """
    try:
        found = json.loads((folder / SUMMARY).read_text())
        if found["complete"]:
            return None
        if other := [name for name, value in attack.items() if found[name] != value]:
            terminal.note(f"{folder} holds an unfinished attack of another {' and '.join(other)}, which is replaced.")
            return None
        rows = pq.read_table(folder / ROWS)
        answers = load_file(folder / ANSWERS)
        return Earlier(rows.slice(0, found["rows_finished"]), found["inputs_sent"], found["inputs_unsure"], answers)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError):
        return None


def leave(folder: Path, endpoint: Endpoint, complete: bool) -> None:
    """Keep what the endpoint answered where the run is not complete."""
    if complete:
        (folder / ANSWERS).unlink(missing_ok=True)
    else:
        with replacing(folder / ANSWERS) as beside:
            save_file(endpoint.answers(), beside)
