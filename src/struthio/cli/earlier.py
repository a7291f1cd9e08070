"""What an earlier attack on an endpoint left unfinished in a folder, so that the same command goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from struthio.checks import UserError
from struthio.cli import terminal
from struthio.cli.saving import ROWS, SUMMARY
from struthio.cli.tally import Columns
from struthio.models import Endpoint


@dataclass(frozen=True)
class Earlier:
    """The rows that were finished, and what they and others cost.

    Attributes:
        rows: a table of them, from the first row of the data on.
        sent: how many inputs the endpoint was sent.
        unsure: how many of these it may not have worked on.
    """

    rows: pa.Table
    sent: int
    unsure: int

    def columns(self) -> Columns:
        """The finished rows as they are counted."""
        return {name: column.to_numpy() for name, column in zip(self.rows.schema.names, self.rows.columns, strict=True)}

    def go_on(self, endpoint: Endpoint, folder: Path, rows: int) -> None:
        """Charge the endpoint with what was spent, and say that the run goes on."""
        done = self.rows.num_rows
        if done >= rows:
            raise UserError(
                f"{folder} holds {done} finished rows of this attack, and {rows} are asked for. Raise -n, or "
                "name another folder with -o."
            )
        endpoint.asked, endpoint.unsure = self.sent, self.unsure
        terminal.note(
            f"{folder} holds {done} finished rows of this attack, which ended early: it goes on with the other "
            f"{rows - done}; {endpoint.spent()} so far."
        )


def earlier(folder: Path, attack: Mapping[str, Any]) -> Earlier | None:
    """What the folder holds of this attack, as its summary names it; None where it holds none or all of it."""
    try:
        found = json.loads((folder / SUMMARY).read_text())
        if found["complete"] or any(found[name] != value for name, value in attack.items()):
            return None
        rows = pq.read_table(folder / ROWS)
        return Earlier(rows.slice(0, found["rows_finished"]), found["inputs_sent"], found["inputs_unsure"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
