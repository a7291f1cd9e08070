"""One row of the board: a defence, how its model is made, and what is known of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from struthio.gauntlet.workshop import Workshop
from struthio.types import Threat

TARGET = 0.10  # what an attack may leave of a defence that is called broken
SLACK = 0.05  # beside a known break
CHANGE = 0.02  # by which repairs may move the figure of a sound model


@dataclass(frozen=True)
class Known:
    """What is known of a defence in the literature.

    Attributes:
        left: the share that the strongest published attack leaves; None where no number was read in a source.
        where: the data and the radius of that number, or in a few words what is known without one.
        source: who measured it.
    """

    left: float | None
    where: str
    source: str

    def __str__(self) -> str:
        said = f"{100 * self.left:.4g} %, {self.where}" if self.left is not None else self.where
        return f"{said} ({self.source})" if self.source else said


@dataclass(frozen=True)
class Row:
    """A defence on the board.

    Attributes:
        what: the defence in a few words.
        make: builds the model from what the workshop holds: networks that were trained once, and rows to train on.
        paper: who proposed it: authors, year, arXiv number.
        known: what is left of it.
        doubts: those that an audit has to raise, by their names; none where the defence hides nothing.
        threat: what may change, as text.
        sound: whether it is no illusion: an audit has to leave it standing, and raise no doubt.
        data: "digits" or "cifar".
        seen: what the naive attack takes for the model: all of it, or without the detector that guards it.
        beyond: finds the rows that no attack can bring down, from the model, inputs, labels and threat, by a search
            that knows the defence: what it leaves is not the audit's to break. None where every row has to fall.
    """

    what: str
    make: Callable[[Workshop], nn.Module]
    paper: str
    known: Known
    doubts: frozenset[str] = frozenset()
    threat: str = "linf:0.3"
    sound: bool = False
    data: str = "digits"
    seen: Callable[[nn.Module], nn.Module] = lambda model: model
    beyond: Callable[[nn.Module, Tensor, Tensor, Threat], Tensor] | None = None

    @property
    def limit(self) -> float:
        """The most that may be left of a defence that is called broken."""
        return max(TARGET, (self.known.left or 0.0) + SLACK)
