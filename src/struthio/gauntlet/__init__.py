"""Every defence on one board: what a naive attack leaves of it, what the audit leaves, and what is known."""

from struthio.gauntlet.board import Board, gauntlet
from struthio.gauntlet.outcome import Outcome
from struthio.gauntlet.registry import ROWS, rows_named
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.workshop import Workshop

__all__ = ["ROWS", "Board", "Known", "Outcome", "Row", "Workshop", "gauntlet", "rows_named"]
