"""The situations in which every promise is tried: each threat plain, masked, on levels, and between other limits."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.checks import UserError
from struthio.describe import describe
from struthio.goals import Untargeted
from struthio.result import Result
from struthio.rows import RowGenerator, Rows
from struthio.rows import norm as length
from struthio.testing.models import small_inputs, small_net
from struthio.testing.require import BrokenPromise
from struthio.threats import BALLS, PIXELS, THREATS, Box, Levels, Masked, Patch, Spatial
from struthio.types import Goal, Threat

FEW = {
    "steps": 6,
    "restarts": 2,
    "inner": 3,
    "halvings": 3,
    "samples": 2,
    "copies": 3,
    "targets": 3,
    "queries": 30,
    "population": 6,
    "generations": 3,
    "rounds": 2,
    "every": 1,
    "angles": 5,
    "shifts": 3,
}  # enough to keep a promise by, and quick
RADII = {"linf": 8 / 255, "l2": 0.3, "l1": 1.5, "l0": 2.0, "patch": 1.0, "spatial": 0.5}  # some rows hold, some do not
SEED = 7


@dataclass(frozen=True)
class Setting:
    """A model, rows of input, a goal and a threat that fit together.

    Attributes:
        name: what is special about it.
        model: a small network in float64.
        x: the inputs, [n, 3, side, side].
        goal: away from the classes that the model gives x.
        threat: what may change.
        norm: the name of the threat among an attack's norms.
        box: the limits of x.
        ids: the numbers of the rows, which name their random numbers.
    """

    name: str
    model: nn.Module
    x: Tensor
    goal: Goal
    threat: Threat
    norm: str
    box: Box
    ids: Tensor

    def __getitem__(self, rows: Rows) -> Setting:
        return replace(self, x=self.x[rows], goal=self.goal[rows], threat=self.threat[rows], ids=self.ids[rows])

    def size(self, x_adv: Tensor) -> Tensor:
        """How far x_adv is from x, [n]: of balls by their norm, without asking the threat."""
        return length(x_adv - self.x, BALLS[self.norm].p) if self.norm in BALLS else self.threat.size(self.x, x_adv)

    def run(self, attack: Attack, **other: Any) -> Result:
        """The attack in this setting; `model`, `goal` or `threat` may be replaced for the call."""
        given = {"model": self.model, "goal": self.goal, "threat": self.threat, **other}
        generator = RowGenerator.seeded(SEED, self.ids)
        return attack(given["model"], self.x, given["goal"], given["threat"], generator)


def norms_of(attack: Attack) -> tuple[str, ...]:
    """The norms in which an attack, and all those inside it, are defined."""
    found = []
    for norm in THREATS:
        try:
            attack.fits(threat_of(norm, 1.0))
        except UserError:
            continue
        found.append(norm)
    return tuple(found)


def settings(norms: tuple[str, ...]) -> list[Setting]:
    """For each norm: 8 rows of side 8 plain, 3 rows of side 5 masked, on levels, and in [-1, 1] with a radius a row."""
    return [made for norm in norms for made in (plain(norm), *masked((norm,)), on_levels(norm), in_another_box(norm))]


def at_least_once(norms: tuple[str, ...]) -> list[Setting]:
    """The plain setting of each norm and the other three of the first, for what has little to do with the norm."""
    return [*settings(norms[:1]), *plainly(norms[1:])]


def plainly(norms: tuple[str, ...]) -> list[Setting]:
    """The plain setting of each norm."""
    return [plain(norm) for norm in norms]


def once(norms: tuple[str, ...]) -> list[Setting]:
    """One setting, for what does not depend on it."""
    return [plain(norms[0])]


def plain(norm: str) -> Setting:
    """Pixels in [0, 1], one radius."""
    return _setting(f"{norm} plain", norm, threat_of(norm, RADII[norm]), 8, 8, PIXELS)


def masked(norms: tuple[str, ...]) -> list[Setting]:
    """One mask a row, which leaves two thirds of the values free; a picture that turns takes all of them along."""
    free = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(1)) < 0.67
    threats = {norm: Masked(threat_of(norm, RADII[norm]), free, each=True) for norm in norms if norm != "spatial"}
    return [_setting(f"{norm} masked", norm, threat, 3, 5, PIXELS) for norm, threat in threats.items()]


def on_levels(norm: str) -> Setting:
    """On the 256 levels of an 8-bit picture."""
    return _setting(f"{norm} on levels", norm, Levels(threat_of(norm, RADII[norm])), 3, 8, PIXELS)


def in_another_box(norm: str) -> Setting:
    """Inputs in [-1, 1], and radii that differ by row."""
    box = Box(-1.0, 1.0)
    radii = RADII[norm] * torch.tensor([2.0, 1.0, 0.5], dtype=torch.float64)
    return _setting(f"{norm} in [-1, 1]", norm, threat_of(norm, radii, box), 3, 5, box)


def threat_of(norm: str, eps: float | Tensor, box: Box = PIXELS) -> Threat:
    """The threat of this name; a patch is two pixels high and wide at radius 1."""
    if norm == "patch":
        return Patch(2, eps=eps, box=box)
    return Spatial(eps, box=box) if norm == "spatial" else BALLS[norm](eps, box)


def _setting(name: str, norm: str, threat: Threat, n: int, side: int, box: Box) -> Setting:
    model, x = small_net(side), small_inputs(n, side, box=box)
    with torch.no_grad():
        labels = model(x).argmax(1)
    return Setting(name, model, x, Untargeted(labels), threat, norm, box, torch.arange(100, 100 + n))


def quick(attack: Attack) -> Attack:
    """The same attack with fewer steps, samples, copies and targets, and so for the attacks inside it."""
    fewer: dict[str, Any] = {}
    for field in dataclasses.fields(attack):
        value, few = getattr(attack, field.name), FEW.get(field.name, math.inf)
        if field.name == "queries" and attack.access == "labels":
            few *= 4  # a label says less than scores do
        if field.name == "rounds" and attack.access == "gradients":
            few *= 2  # in fewer a search of c meets no two wins to choose from
        if few < math.inf and (value is None or value > few):
            fewer[field.name] = few
        elif field.name == "c":  # the first weight of a search: few rounds would never come to one that matters
            fewer[field.name] = 10.0
        elif isinstance(value, Attack):
            fewer[field.name] = quick(value)
        elif isinstance(value, tuple) and value and all(isinstance(part, Attack) for part in value):
            fewer[field.name] = tuple(map(quick, value))
    return replace(attack, **fewer)


class Check(Protocol):
    """A promise: called with an attack or its class, and with norms where not all of its own are to be tried."""

    __name__: str

    def __call__(self, attack: Attack | type[Attack], norms: tuple[str, ...] | None = None) -> None:
        """Raise BrokenPromise where it is not kept."""
        ...


def tried_in(where: Callable[[tuple[str, ...]], list[Setting]]) -> Callable[[Callable[[Attack, Setting], None]], Check]:
    """Make a promise of what is tried in one setting: it is tried in all that `where` makes of the attack's norms."""

    def promise_of(check: Callable[[Attack, Setting], None]) -> Check:
        @functools.wraps(check)
        def promise(attack: Attack | type[Attack], norms: tuple[str, ...] | None = None) -> None:
            made = quick(attack() if isinstance(attack, type) else attack)
            for setting in where(norms or norms_of(made)):
                try:
                    check(made, setting)
                except BrokenPromise as broken:
                    raise BrokenPromise(f"{describe(made)} in {setting.name}: {broken}") from None

        return promise

    return promise_of
