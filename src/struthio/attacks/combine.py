"""Attacks made of attacks, with the same call."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.best import Best
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.checks import UserError
from struthio.describe import describe
from struthio.goals import Evade, Untargeted
from struthio.losses import Margin
from struthio.meter import Metered
from struthio.rows import RowGenerator, finite, where_rows
from struthio.types import Goal, Threat


def _check_made(attacks: object, inside: str) -> None:
    """Refuse what is no tuple of attacks, such as one alone or a class of attacks."""
    several = attacks if isinstance(attacks, (tuple, list)) else None
    for given in (attacks,) if several is None else several:
        if several is None or not isinstance(given, Attack):
            shown = f"the class {given.__name__} itself" if isinstance(given, type) else describe(given)
            raise UserError(f"{inside} was given {shown}; made attacks are needed: (FGSM(), PGD(steps=20)).")


def _in_turn(
    attempts: Iterator[tuple[Attack, Goal]],
    model: Metered,
    x: Tensor,
    goal: Goal,
    threat: Threat,
    generator: RowGenerator,
) -> Tensor:
    """Run attacks one after another, each on the rows that all before it left; the last word is the given goal's."""
    best = Best(x.clone())  # what comes out is the caller's, and x is too
    rows = torch.arange(len(x), device=x.device)
    for turn, (attack, towards) in enumerate(attempts):
        part = model[rows]
        tried = attack.search(part, x[rows], towards[rows], threat[rows], generator[rows].fold(turn))
        with torch.no_grad():
            outputs = part(tried)
        won = goal[rows].success(outputs)
        best.offer(rows, tried, goal[rows].score(Margin(), outputs), won)
        rows = rows[~won]
        if not len(rows):
            break
    return best.value


@dataclass(frozen=True)
class Repeat(Attack):
    """The same attack several times, each from its own random numbers, on the rows that are left."""

    paper: ClassVar[str] = ""

    attack: Attack
    times: int = 5

    def __post_init__(self) -> None:
        _check_made((self.attack,), "Repeat")
        checks.count(self.times, "times")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the attack inside is not defined in the threat's norm."""
        self.attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best of all repetitions."""
        return _in_turn(((self.attack, goal) for _ in range(self.times)), model, x, goal, threat, generator)


@dataclass(frozen=True)
class Cascade(Attack):
    """Several attacks in turn, each on the rows that survived all before it: cheap ones first."""

    paper: ClassVar[str] = ""

    attacks: tuple[Attack, ...]

    def __post_init__(self) -> None:
        if not self.attacks:
            raise UserError("Cascade was given no attacks; at least one is needed.")
        _check_made(self.attacks, "Cascade")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where an attack inside is not defined in the threat's norm."""
        for attack in self.attacks:
            attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best of all attacks."""
        return _in_turn(((attack, goal) for attack in self.attacks), model, x, goal, threat, generator)


@dataclass(frozen=True)
class SmallestOf(Attack):
    """Several attacks on every row, each from its own random numbers, of which a row keeps its smallest win.

    It is to smallest changes what `Cascade` is to a ball: no win ends the search. One attack given several times begins
    several times: SmallestOf((ALMA(), BrendelBethge(steps=200), BrendelBethge(steps=200))).

    Args:
        attacks: what is run.
        last: an attack with a `start`, such as BrendelBethge, run in the end from the smallest win of all before.
    """

    paper: ClassVar[str] = ""

    attacks: tuple[Attack, ...]
    last: Attack | None = None

    def __post_init__(self) -> None:
        if not self.attacks:
            raise UserError("SmallestOf was given no attacks; at least one is needed.")
        _check_made(self.attacks, "SmallestOf")
        if self.last is not None and "start" not in {field.name for field in fields(self.last)}:
            raise UserError(f"last is {type(self.last).__name__}, which takes no start; take BrendelBethge, or None.")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where an attack inside is not defined in the threat's norm."""
        for attack in (*self.attacks, *([self.last] if self.last else [])):
            attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The smallest win of all attacks."""
        found, task = Smallest(x), Task.whole(model, x, goal, threat, generator)
        for turn, attack in enumerate(self.attacks):
            _offer(found, task, attack, turn)
        if self.last is not None:
            start = x.new_zeros(len(model.forwards), *x.shape[1:])  # one for each row of the whole call, as it is asked
            start[model.ids] = found.value
            _offer(found, task, replace(self.last, start=start), len(self.attacks))  # type: ignore[call-arg]
        return found.inside(x, threat)


def _offer(found: Smallest, task: Task, attack: Attack, turn: int) -> None:
    """What an attack comes to on all rows."""
    tried = attack.search(task.model, task.x, task.goal, task.threat, task.generator.fold(turn))
    with torch.no_grad():
        outputs = task.model(tried)
    won, size = task.goal.success(outputs), task.threat.size(task.x, tried)
    found.offer(task.rows, tried, size, task.goal.score(Margin(), outputs), won)


@dataclass(frozen=True)
class EachTarget(Attack):
    """Lead the attack to each of the likeliest wrong classes in turn; any wrong class is a success.

    Args:
        attack: what is run for each target.
        targets: how many of the wrong classes (9 in AutoAttack, arXiv 2003.01690).
        order: which come first: those of the highest "score" on the clean input, or those whose border is at the least
            "distance" by a first-order estimate (MALT: Melamed, Yehudai, Shamir, 2024, arXiv 2407.02240).
        candidates: of how many classes, those of the highest scores, the distance is estimated; a backward for each.
    """

    paper: ClassVar[str] = "Croce, Hein, 2020, arXiv 2003.01690"

    attack: Attack
    targets: int = 9
    order: str = "score"
    candidates: int = 9

    def __post_init__(self) -> None:
        _check_made((self.attack,), "EachTarget")
        checks.count(self.targets, "targets")
        checks.one_of(self.order, ("score", "distance"), "order")
        checks.count(self.candidates, "candidates")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the attack inside is not defined in the threat's norm."""
        self.attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The best over all targets."""
        inner, unnoticed = (goal.goal, True) if isinstance(goal, Evade) else (goal, False)
        if not isinstance(inner, Untargeted):
            raise UserError(
                f"EachTarget leads away from labels; its goal must be Untargeted, not {type(inner).__name__}."
            )
        if self.order == "score":
            with torch.no_grad():
                targets = _strongest(_classes(model(x), unnoticed), inner.labels, self.targets)
        else:
            targets = _nearest(model, x, inner.labels, threat, self.candidates, unnoticed)[:, : self.targets]
        led = (Untargeted(inner.labels, column) for column in targets.unbind(1))
        goals = ((self.attack, Evade(one) if unnoticed else one) for one in led)
        return _in_turn(goals, model, x, goal, threat, generator)


def _classes(outputs: Tensor, unnoticed: bool) -> Tensor:
    """The outputs that are classes: all but the last, which is abstaining, where the goal is to go unnoticed."""
    return outputs[:, :-1] if unnoticed else outputs


def _strongest(outputs: Tensor, labels: Tensor, count: int) -> Tensor:
    """The wrong classes of the highest scores, strongest first, [n, count]; fewer where there are not so many."""
    wrong = outputs.scatter(1, labels[:, None], -torch.inf)
    return wrong.argsort(1, descending=True)[:, : min(count, outputs.shape[1] - 1)]


def _nearest(
    model: Metered, x: Tensor, labels: Tensor, threat: Threat, candidates: int, unnoticed: bool = False
) -> Tensor:
    """The candidates in the order of their distance: the gap of the logits over what the steepest unit step closes.

    Where no gradient arrives, in the order of their scores.
    """
    with torch.enable_grad():
        z = threat.zero(x).requires_grad_()
        outputs = _classes(model(threat.apply(x, z)), unnoticed)
        classes = _strongest(outputs.detach(), labels, candidates)
        if not outputs.requires_grad:
            return classes  # slopes that are estimated from answers are too dear for an order
        gaps = (outputs.gather(1, labels[:, None]) - outputs.gather(1, classes)).unbind(1)
        slopes = [
            torch.autograd.grad(gap.sum(), z, retain_graph=rank + 1 < len(gaps), materialize_grads=True)[0]
            for rank, gap in enumerate(gaps)
        ]
        z = z.detach()
        ways = [threat.useful(x, z, -finite(slope)) for slope in slopes]
    closes = torch.stack([(way * threat.steepest(x, z, way)).flatten(1).sum(1) for way in ways], 1)
    distance = torch.stack(gaps, 1).detach() / closes.clamp(min=1e-12)
    return classes.gather(1, distance.argsort(dim=1, stable=True))


@dataclass(frozen=True)
class SmallestRadius(Attack):
    """The smallest radius at which an attack wins, found for each row by doubling and then halving.

    Args:
        attack: what is run at each radius.
        steps: how often the interval is halved.
        first: the first radius tried, as a share of the largest that the limits allow.
    """

    paper: ClassVar[str] = ""

    attack: Attack
    steps: int = 10
    first: float = 1 / 256

    def __post_init__(self) -> None:
        _check_made((self.attack,), "SmallestRadius")
        checks.count(self.steps, "steps")
        checks.share(self.first, "first")

    def fits(self, threat: Threat) -> None:
        """Raise UserError where the attack inside is not defined in the threat's norm."""
        self.attack.fits(threat)

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """For each row the win of smallest size; rows never won keep the last attempt."""
        widest = torch.minimum(threat.farthest(x), torch.as_tensor(threat.eps, dtype=x.dtype, device=x.device))
        if not bool(widest.isfinite().all()):
            raise UserError(
                "neither the radius nor the limits bound the search; give one of them: L2(10) or box=Box(0, 1)."
            )
        found = x.clone()
        failed = torch.zeros_like(widest)  # the largest radius that did not win
        won = torch.full_like(widest, torch.inf)  # the smallest size that did

        def attempt(rows: Tensor, eps: Tensor, turn: int) -> None:
            part = model[rows]
            tried = self.attack.search(part, x[rows], goal[rows], threat[rows].at(eps), generator[rows].fold(turn))
            with torch.no_grad():
                success = goal[rows].success(part(tried))
            size = threat[rows].size(x[rows], tried)
            better = success & (size < won[rows])
            found[rows] = where_rows(better | won[rows].isinf(), tried, found[rows])
            won[rows] = torch.where(better, size, won[rows])
            failed[rows] = torch.where(success, failed[rows], eps)

        doublings = max(0, math.ceil(math.log2(1 / self.first)))
        for turn in range(doublings + 1):
            rows = won.isinf().nonzero().flatten()
            if len(rows):
                attempt(rows, widest[rows] * min(1.0, self.first * 2**turn), turn)
        for turn in range(self.steps):
            rows = (won.isfinite() & (won > failed)).nonzero().flatten()
            if len(rows):
                attempt(rows, (won[rows] + failed[rows]) / 2, doublings + 1 + turn)
        return found
