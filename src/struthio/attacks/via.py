"""Attack a model through others: the search runs on a source, and the target is asked only by the judge.

This is the attack without queries. A source is a network of one's own, a `Substitute` trained from the target's
labels, or several networks seen as one by `LogitEnsemble`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.kept import behind_a_wire
from struthio.checks import UserError
from struthio.goals import Evade, abstains
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Model, Threat


@dataclass(frozen=True)
class Via(Attack):
    """An attack whose search sees a source, and whose success is judged on the model that it is called with.

    A row costs that model one forward, the judge's; `Repeat(Via(attack, source), 5)` asks it once more for each
    repetition, and repeats only on the rows that hold. What the source is asked is not the target's cost and is not
    counted: to count it, call the attack on the source itself. Where the target may abstain (`Evade`) and the source
    cannot, the search goes for the classes alone and knows of no detector.

    Attacks that leave a row as soon as the source is won (PGD, minimal changes) stop just beyond the source's boundary
    and transfer less than those that go on, such as MI-FGSM.

    Args:
        attack: what is run on the source.
        source: the model that the search sees, with the classes of the target; or one made faster by `prepare`.

    Raises:
        UserError: where the source is in training mode, knows fewer classes, gives no gradient to an attack that needs
            one, or is an endpoint, whose questions would be no attack without queries.
    """

    paper: ClassVar[str] = "Papernot, McDaniel, Goodfellow, 2016, arXiv 1605.07277"
    access: ClassVar[str] = "labels"
    improves: ClassVar[bool] = False

    attack: Attack
    source: Model

    def __post_init__(self) -> None:
        if behind_a_wire(getattr(self.source, "original", self.source)):
            raise UserError(
                "the source of Via is a model behind a wire. Attack through a network of your own, or train one from "
                "its labels: Substitute().train(endpoint, x)."
            )

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the attack inside is not defined in the threat's norm."""
        self.attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """What the attack finds on the source."""
        checks.mode(getattr(self.source, "original", self.source))
        if isinstance(goal, Evade) and not abstains(self.source):
            goal = goal.goal
        source = Metered(self.source, len(x), device=x.device, first=goal.check_outputs)
        return self.attack.search(source, x, goal, threat, generator)
