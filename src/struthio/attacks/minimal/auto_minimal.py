"""Several attacks that fail in different places, in one budget: the smallest change without choosing an attack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.combine import SmallestOf
from struthio.attacks.minimal.alma import ALMA
from struthio.attacks.minimal.brendel_bethge import BrendelBethge
from struthio.attacks.minimal.fab import FAB
from struthio.attacks.minimal.fmn import FMN
from struthio.attacks.minimal.pdpgd import PDPGD
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Threat

WALK, BESIDE = 30, 16  # steps of one walk along the boundary, and what it asks beside them
CLASSES = 10  # of FAB, each but one a backward


@dataclass(frozen=True)
class AutoMinimal(Attack):
    """The smallest change in L2, Linf, L1 or L0 of several attacks that share one budget; each row keeps the smallest.

    Some follow slopes from x: ALMA in L2, FMN and PDPGD in L1, FAB and FMN in Linf, sigma-zero and PDPGD in L0. They
    are best where slopes lead to the boundary. What remains goes, but for L0, to short walks of Brendel and Bethge
    along the boundary, each from other noise: they are best where slopes near x vanish or mislead.

    Which ones, and their shares, were chosen by the measure of the paper named (AttackBench): the area under the curve
    of success against size, in that of the best of all attacks. On robust digits no member alone comes near it.

    Args:
        steps: about how many forwards, and how many backwards, a row may have in all.
    """

    paper: ClassVar[str] = "Cina, Rony, Pintor, Demetrio, Demontis, Biggio, Ben Ayed, Roli, 2025, arXiv 2404.19460"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1", "l0")

    steps: int = 1000

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all members."""
        return SmallestOf(self.members(float(threat.p))).search(model, x, goal, threat, generator)  # type: ignore[attr-defined]

    def members(self, p: float) -> tuple[Attack, ...]:
        """What is run in a norm: 0, 1, 2 or infinity."""
        share = self._share
        if p == 0:
            return SigmaZero(steps=share(0.6)), PDPGD(steps=share(0.35))
        if p == 1:
            return FMN(steps=share(0.2)), PDPGD(steps=share(0.2)), *self._walks(0.6)
        if p == 2:
            return ALMA(steps=share(0.25), loss=Margin()), *self._walks(0.74)
        fab = FAB(steps=max(1, share(0.3) // (CLASSES - 1)), classes=CLASSES)
        return fab, FMN(steps=share(0.3)), *self._walks(0.4)

    def _share(self, part: float) -> int:
        return max(1, int(part * self.steps))

    def _walks(self, part: float) -> tuple[BrendelBethge, ...]:
        """As many as there is room for; several short ones find more than a long one."""
        passes = self._share(part)
        walk = BrendelBethge(steps=max(1, min(WALK, passes - BESIDE)), decays=7, momentum=0.5)
        return (walk,) * max(1, passes // (WALK + BESIDE))
