"""What a service was sent and answered: the answers by what was asked, in a journal too where they shall outlive us."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping

import numpy as np

from struthio.data.journal import Journal
from struthio.models.wire import Values

MOST = 100_000  # answers
ANSWER, SENT, SETTLED = "answer", "sent", "settled"  # two kinds of records, and a note


class Remembered:
    """Answers, the latest 100,000 of them, and what they cost.

    With a journal each answer is on the disk as soon as it came, and before a question is put, that it may have been
    worked on. A process that was killed is so repeated for nothing: what was answered after the last `settle` is
    `unpaid`. It counts for the row that asks it again as if it were sent, and its answer is known, so that all counts
    and shares of a budget are those of one run.

    Attributes:
        asked: how many inputs were sent, by earlier processes too.
        unsure: how many of these the service may not have worked on.
        unpaid: keys of answers that an earlier process got and no row has asked for since.
    """

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self.asked = self.unsure = 0
        self.unpaid: set[bytes] = set()
        self._known: OrderedDict[bytes, Values] = OrderedDict()
        if journal is not None:
            counts = dict(journal.all(SENT))
            self.asked, self.unsure = (int.from_bytes(counts.get(name, b"")) for name in (b"asked", b"unsure"))
            settled = journal.noted(SETTLED, 0)
            for place, (key, row) in enumerate(journal.all(ANSWER)):
                self.keep({key: np.frombuffer(row)})
                if place >= settled:
                    self.unpaid.add(key)

    def __len__(self) -> int:
        return len(self._known)

    @property
    def classes(self) -> int | None:
        """How many an answer tells of; None before the first."""
        return len(next(iter(self._known.values()))) if self._known else None

    def find(self, keys: Iterable[bytes]) -> dict[bytes, Values]:
        """The answers that are known, by their keys."""
        return {key: self._known[key] for key in keys if key in self._known}

    def keep(self, answers: Mapping[bytes, Values]) -> None:
        """Remember answers, or that they were needed again."""
        for key, row in answers.items():
            self._known[key] = row
            self._known.move_to_end(key)
        while len(self._known) > MOST:
            self.unpaid.discard(self._known.popitem(last=False)[0])

    def about_to_send(self, inputs: int) -> None:
        """Write down that inputs may have been worked on, should this process end before it hears of them."""
        if self.journal is not None:
            self._count(self.journal, inputs)

    def heard(self, answers: Mapping[bytes, Values]) -> None:
        """Write down answers, and what was really sent."""
        if self.journal is not None:
            with self.journal.together():
                self.journal.put(ANSWER, {key: row.astype(np.float64).tobytes() for key, row in answers.items()})
                self._count(self.journal, 0)

    def _count(self, journal: Journal, more: int) -> None:
        """Records, not notes: a journal that says that something was sent is not empty."""
        journal.put(SENT, {b"asked": (self.asked + more).to_bytes(8), b"unsure": (self.unsure + more).to_bytes(8)})

    def settle(self) -> None:
        """Write down that what was answered until now belongs to rows that are done."""
        if self.journal is not None:
            self.journal.note(SETTLED, self.journal.count(ANSWER))


def key_of(row: Values) -> bytes:
    """By which an input is known again, 32 bytes."""
    return hashlib.sha256(f"{row.dtype}{row.shape}".encode() + row.tobytes()).digest()
