"""Standard evaluations: which attacks follow one another, and which rows each of them gets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.attacks.auto import APGD, APGDT
from struthio.attacks.base import Attack
from struthio.attacks.combine import Cascade, EachTarget
from struthio.attacks.minimal.fab import FABT
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.attacks.pgd import PGD
from struthio.attacks.queries.random_search import RandomSearch
from struthio.attacks.queries.sparse_rs import SparseRS
from struthio.attacks.queries.square import Square
from struthio.attacks.starts import OnSphere, OutputDiversified
from struthio.attacks.via import Via
from struthio.losses import LogitGap, Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Threat

LEVELS = ("quick", "standard", "thorough", "standard-aa")


@dataclass(frozen=True)
class Part:
    """One attack of a suite.

    Attributes:
        name: as reports call it.
        attack: what is run.
        share: of the rows that still stand, the share that gets it: those nearest to the border. At 0 it is for the
            last rows, where hardly any stand.
        blind: what is run in its place, and on every row, where slopes cannot be trusted.
    """

    name: str
    attack: Attack
    share: float = 1.0
    blind: Attack | None = None

    @property
    def access(self) -> str:
        """What it sees of the model: "gradients", "scores", or "transfer": no more than the judge's answer."""
        return "transfer" if isinstance(self.attack, Via) else self.attack.access

    @property
    def queries(self) -> bool:
        """Whether it asks for scores alone, and no gradient."""
        return self.access == "scores"


Suite = tuple[Part, ...]


@dataclass(frozen=True)
class AutoAttack(Attack):
    """The standard AutoAttack: Auto-PGD with cross-entropy, targeted Auto-PGD, targeted FAB, Square, on survivors.

    Args:
        steps: N, of each gradient attack.
        targets: how many wrong classes the targeted ones try.
        queries: of Square, whose schedule is not rescaled.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 2003.01690"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2", "l1")

    steps: int = 100
    targets: int = 9
    queries: int = 5000

    def __post_init__(self) -> None:
        checks.count(self.steps, "steps")
        checks.count(self.targets, "targets")
        checks.count(self.queries, "queries")

    def parts(self) -> Suite:
        """Its four attacks."""
        return (
            Part("apgd-ce", APGD(self.steps)),
            Part("apgd-t", APGDT(self.steps, self.targets)),
            Part("fab-t", FABT(self.steps, self.targets)),
            Part("square", Square(self.queries)),
        )

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best of all four."""
        four = Cascade(tuple(part.attack for part in self.parts()))
        return four.search(model, x, goal, threat, generator)


def suite(level: str, threat: Threat) -> Suite:
    """The attacks of a level, cheap ones first.

    A few steps on the margin bring down most rows that can fall. The margin follows the strongest wrong class, which
    need not be the nearest: a few more steps toward the one whose border is nearest by a first-order estimate take most
    of the rest. More steps, restarts from where the outputs are spread out, and queries are spent on the rows that came
    nearest to the border, because almost all that is still missed is there. Where hardly any row is left in a batch,
    long restarts and targets cost next to nothing, and they are tried before a row counts as robust.

    Args:
        level: "quick", "standard", "thorough", or "standard-aa" for AutoAttack as published.
        threat: what may change.

    Raises:
        UserError: for an unknown level, or AutoAttack in a threat that it does not know.
    """
    checks.one_of(level, LEVELS, "level")
    norm = getattr(threat, "norm", None)
    if level == "standard-aa":
        AutoAttack().fits(threat)
        return AutoAttack().parts()
    if norm in AutoAttack.norms:
        return _balls(level)
    return _few_values(level) if norm == "l0" else _other(level)


def _balls(level: str) -> Suite:
    """Linf, L2 and L1. Squares go on from where a slope came to; where none can be trusted they begin from stripes."""

    def away(steps: int, restarts: int = 1) -> Attack:
        start = OutputDiversified() if restarts > 1 else OnSphere()
        return APGD(steps, restarts=restarts, loss=Margin(), start=start)

    def toward(steps: int, targets: int) -> Attack:
        return EachTarget(APGD(steps, loss=LogitGap()), targets, order="distance")

    def squares(queries: int, share: float, steps: int) -> Part:
        blind = Square(max(queries, 3000), rescale_schedule=True)
        return Part("square", replace(blind, queries=queries, after=away(steps)), share, blind=blind)

    last = Part("last rows", Cascade((away(50, restarts=3), toward(100, 9))), share=0)
    if level == "quick":
        return (
            Part("margin", away(8)),
            Part("nearest target", toward(8, 1)),
            Part("longer", toward(50, 1), share=0.1),
            Part("restarts", away(20, restarts=5), share=0.04),
            last,
        )
    if level == "standard":
        return (
            Part("margin", away(10)),
            Part("nearest target", toward(20, 1)),
            Part("longer", toward(50, 2), share=0.25),
            Part("restarts", away(20, restarts=5), share=0.1),
            last,
            squares(1000, 0.05, steps=20),
        )
    return (
        Part("margin", away(20)),
        Part("targets", toward(20, 3)),
        Part("restarts", away(100, restarts=5), share=0.25),
        Part("more targets", toward(100, 9), share=0.1),
        Part("fab-t", FABT(), share=0.05),
        squares(5000, 0.25, steps=100),
        Part("square from stripes", Square(5000, rescale_schedule=True), share=0.1),
    )


def _few_values(level: str) -> Suite:
    """L0."""
    steps, queries, share = {"quick": (50, 300, 0.25), "standard": (200, 2000, 0.5), "thorough": (1000, 10000, 1.0)}[
        level
    ]
    return (Part("sigma-zero", SigmaZero(steps)), Part("sparse-rs", SparseRS(queries), share))


def _other(level: str) -> Suite:
    """Threats that are no balls: a slope where there is one, and random search."""
    steps, queries = {"quick": (20, 100), "standard": (100, 1000), "thorough": (500, 5000)}[level]
    return (
        Part("pgd", PGD(steps, restarts=2, loss=Margin())),
        Part("random search", RandomSearch(queries), 1.0),
    )
