"""What came out for one row, and whether that is what had to come out."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from struthio.gauntlet.row import CHANGE, SLACK, Row


@dataclass(frozen=True)
class Outcome:
    """What was measured of one row.

    Attributes:
        of: on how many inputs.
        clean: of these, how many are right as they are.
        naive: how many PGD-40 leaves that takes the model as it is.
        audited: how many the audit leaves.
        unrepaired: how many the same suite leaves without any repair; None where it was not asked, which is for all but
            the sound rows.
        doubts: that the audit raised, by their names.
        repairs: what the audit did to the model, a sentence each.
        seconds: that the row took.
        beyond: how many are right and out of the reach of every attack; None where the row does not ask.
    """

    of: int
    clean: int
    naive: int
    audited: int
    unrepaired: int | None
    doubts: tuple[str, ...]
    repairs: tuple[str, ...]
    seconds: float
    beyond: int | None = None

    def figures(self) -> dict[str, Any]:
        """For machines."""
        return asdict(self)


def outcome_from(figures: dict[str, Any]) -> Outcome:
    """The outcome of which these are the figures."""
    return Outcome(**{**figures, "doubts": tuple(figures["doubts"]), "repairs": tuple(figures["repairs"])})


def right_doubts(row: Row, found: Outcome) -> bool:
    """Whether the audit raised every doubt that it has to; of a sound row, none."""
    return not found.doubts if row.sound else row.doubts <= set(found.doubts)


def verdict(row: Row, found: Outcome) -> str:
    """One of "broken", "at its bound" and "not broken"; of a sound row, one of "stands" and "changed"."""
    if not row.sound and found.audited <= row.limit * found.of:
        return "broken"
    if not row.sound:
        near = found.beyond is not None and found.audited - found.beyond <= SLACK * found.of
        return "at its bound" if near else "not broken"
    before = found.audited if found.unrepaired is None else found.unrepaired
    return "stands" if abs(found.audited - before) <= CHANGE * found.of else "changed"


def as_it_should(row: Row, found: Outcome) -> bool:
    """Broken as far as it can be, or standing, as it has to, with the right doubts."""
    return right_doubts(row, found) and verdict(row, found) in ("broken", "at its bound", "stands")
