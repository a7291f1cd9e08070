"""What an audit attacks in place of a model that hides its gradient, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from struthio.attacks.fitted import fitted
from struthio.audit.doubts.kinds import Doubt
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy
from struthio.types import Gradient, Loss, Model


@dataclass(frozen=True)
class Adapted:
    """What an audit attacks, and how.

    Attributes:
        model: the model to attack, with the same decisions as the one given.
        judge: the model on which success is decided: as given, but never in training mode.
        gradient: how the slope is found.
        loss: what is increased in place of the cross-entropy.
        draws: by how many fresh draws of the judge a row is decided (`majority`); 1 where it is not random.
        queries: whether attacks without gradient have to be run on every row that is left.
        log: what was done, a sentence each.
        doubts: those given, each with what was done about it.
    """

    model: Model
    judge: Model
    gradient: Gradient = field(default_factory=Autograd)
    loss: Loss = field(default_factory=CrossEntropy)
    draws: int = 1
    queries: bool = False
    log: tuple[str, ...] = ()
    doubts: tuple[Doubt, ...] = ()

    @property
    def doubted(self) -> set[str]:
        """The names of the doubts."""
        return {doubt.name for doubt in self.doubts}

    def fit(self, attack: Any) -> Any:
        """The attack, and every attack inside it, with this gradient, and this loss in place of the cross-entropy.

        Against a random model it takes all its steps and keeps the best: the first lucky draw is not a win.
        """
        return fitted(attack, self.gradient, self.loss, every_step=self.draws > 1)
