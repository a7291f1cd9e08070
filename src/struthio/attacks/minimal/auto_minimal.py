"""Several attacks that fail in different places, in one budget: the smallest change without choosing an attack."""

from __future__ import annotations

import math
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
from struthio.attacks.minimal.undo import undo
from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Threat

WALKING = {0: 0.0, 1: 0.65, 2: 0.8, math.inf: 0.8}  # by norm, the share of the forwards for walks
WALK = BrendelBethge(steps=30, decays=7, momentum=0.5, halvings=5)
LAST = BrendelBethge(steps=60, radius=0.01, decays=8, momentum=0.5, halvings=1)
UNDOING = 0.06  # in L0, the share of the steps after which hardly a change is undone any more
BESIDE = 12  # what a walk asks beside its steps: noise until it wins, the way back to the boundary, its end
CLASSES = 10  # of FAB, each but one a backward


@dataclass(frozen=True)
class AutoMinimal(Attack):
    """The smallest change in L2, Linf, L1 or L0 of several attacks that share one budget; each row keeps the smallest.

    Some follow slopes from x: ALMA and FAB in L2, FMN and PDPGD in L1, FMN and FAB in Linf, sigma-zero in L0. They are
    best where slopes lead to the boundary. What remains goes to short walks of Brendel and Bethge along the boundary,
    in L0 to short runs of PDPGD, each from other noise: they are best where slopes near x vanish or mislead. A last
    walk goes on from the smallest win; in L0 changes of it are undone one by one (`undo`).

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
        """The smallest win of all members; in L0, what can be undone of it is."""
        p = float(threat.p)  # type: ignore[attr-defined]
        best = self.members(p).search(model, x, goal, threat, generator)
        if p:
            return best
        return undo(Task.whole(model, x, goal, threat, generator), best, max(1, int(UNDOING * self.steps)))

    def members(self, p: float) -> SmallestOf:
        """What is run in a norm: 0, 1, 2 or infinity. Where there is no room for walks, slopes get all."""
        room = WALKING[p] * self.steps - (LAST.steps + BESIDE)
        walks = int(room) // (WALK.steps + BESIDE)  # several short ones find more than a long one
        if walks < 1:
            return SmallestOf(self._along_slopes(p, 1.0))
        return SmallestOf((*self._along_slopes(p, 1 - WALKING[p]), *(WALK,) * walks), last=LAST)

    def _along_slopes(self, p: float, part: float) -> tuple[Attack, ...]:
        """The members that begin at x, which share this part of the steps."""

        def steps(share: float) -> int:
            return max(1, int(share * part * self.steps))

        if p == 0:
            return SigmaZero(steps=steps(0.5)), *(PDPGD(steps=steps(0.21), step=0.3, noise=0.5),) * 2
        if p == 1:
            return FMN(steps=steps(0.43)), PDPGD(steps=steps(0.56))
        fab = FAB(steps=max(1, steps(0.9) // (CLASSES - 1)), classes=CLASSES)  # a backward a class: few forwards
        return (ALMA(steps=steps(0.74), loss=Margin()) if p == 2 else FMN(steps=steps(0.74))), fab
