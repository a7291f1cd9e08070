"""The rows of the board by name, in its order."""

from __future__ import annotations

from collections.abc import Sequence

from struthio.checks import UserError, near_misses
from struthio.gauntlet.around import AROUND
from struthio.gauntlet.failed import FAILED
from struthio.gauntlet.judged import JUDGED
from struthio.gauntlet.learned import LEARNED
from struthio.gauntlet.photographs import PHOTOGRAPHS
from struthio.gauntlet.row import Row
from struthio.gauntlet.trained import TRAINED

ROWS: dict[str, Row] = {**TRAINED, **FAILED, **AROUND, **LEARNED, **JUDGED, **PHOTOGRAPHS}


def rows_named(names: Sequence[str] = ()) -> dict[str, Row]:
    """The rows of these names in the order of the board; all where none is named.

    Raises UserError for a name that no row has.
    """
    for name in names:
        if name not in ROWS:
            raise UserError(f"the board has no row {name!r}. {near_misses(name, list(ROWS), 'rows')}")
    return {name: row for name, row in ROWS.items() if not names or name in names}
