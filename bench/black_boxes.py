"""Who gets furthest by questions alone: each attack of a black box, and every peer that has it, for as many questions.

Peers count rounds and not questions; the rounds are those that come closest to the questions without going beyond, and
what was really asked is counted by whoever runs this.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import struthio as st
from bench.peers import installed, stand_in_for_missing
from struthio.attacks import Attack
from struthio.types import Threat


@dataclass(frozen=True)
class Trial:
    """What every tool of a contest is given.

    Attributes:
        model: in evaluation mode, pixels in [0, 1].
        x: the inputs [n, ...].
        y: their classes, int64 [n].
        start: inputs that win, for attacks that see labels alone, [n, ...].
        eps: the radius; infinite where the smallest change is looked for.
        queries: how many questions a row.
    """

    model: nn.Module
    x: Tensor
    y: Tensor
    start: Tensor
    eps: float
    queries: int


LONGER = 4  # times as many questions for those that would not get beyond a few steps
Find = Callable[[Trial], Tensor]  # x_adv [n, ...]


@dataclass(frozen=True)
class Contest:
    """One attack in one norm.

    Attributes:
        attack: its name.
        norm: linf, l2 or pixels.
        radius: "linf" or "l2" for the network's own radius, or a number of pixels; None looks for the smallest change.
        queries: how many questions a row.
        tools: who takes part.
    """

    attack: str
    norm: str
    radius: str | int | None
    queries: int
    tools: dict[str, Find]

    @property
    def name(self) -> str:
        """What `--only` is compared with."""
        return f"{self.attack}/{self.norm}"


def contests(scores: int, labels: int) -> list[Contest]:
    """All contests, for so many questions a row of a model that shows scores, or labels alone."""
    stand_in_for_missing()
    logging.getLogger("art").setLevel(logging.ERROR)
    here = {*installed(), "struthio"}
    found = []
    for (attack, norm, radius), tools in _ENTRIES.items():
        budgets = {"square": scores, "simba": scores, "one-pixel": LONGER * scores, "zoo": LONGER * scores}
        queries = budgets.get(attack, labels)
        present = {name: find for name, find in tools.items() if name in here}
        found.append(Contest(attack, norm, radius, queries, present))
    return found


def _ours(make: Callable[[Trial], Attack], threat: Callable[[float], Threat]) -> Find:
    def find(trial: Trial) -> Tensor:
        return make(trial)(trial.model, trial.x, st.Untargeted(trial.y), threat(trial.eps)).x_adv

    return find


def _foolbox(name: str, options: Callable[[Trial], dict[str, Any]]) -> Find:
    def find(trial: Trial) -> Tensor:
        import foolbox as fb

        attack = getattr(fb.attacks, name)(**options(trial))
        model = fb.PyTorchModel(trial.model, bounds=(0, 1), device="cpu")
        return attack.run(model, trial.x, fb.criteria.Misclassification(trial.y), starting_points=trial.start.clone())

    return find


def _torchattacks(name: str, options: Callable[[Trial], dict[str, Any]]) -> Find:
    def find(trial: Trial) -> Tensor:
        import torchattacks

        return getattr(torchattacks, name)(trial.model, **options(trial))(trial.x, trial.y)

    return find


class _ForART(nn.Module):
    """The network as ART's black boxes need it: numpy 2 makes their inputs float64, and SimBA wants probabilities."""

    def __init__(self, model: nn.Module, probabilities: bool) -> None:
        super().__init__()
        self.model, self.probabilities = model, probabilities

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(x.float())
        return out.softmax(1) if self.probabilities else out


def _art(name: str, options: Callable[[Trial], dict[str, Any]], together: bool = True, started: bool = False) -> Find:
    """ART's attack of this name: all rows in one batch, or one at a time; with the starts, where it takes them."""

    def find(trial: Trial) -> Tensor:
        from art.attacks import evasion
        from art.estimators.classification import PyTorchClassifier

        if not hasattr(np, "mat"):  # which numpy 2 has no more, and GeoDA asks for
            np.mat = np.asmatrix
        model = _ForART(trial.model, name == "SimBA").eval()
        with torch.no_grad():
            classes = trial.model(trial.x[:1]).shape[1]
        shape = tuple(trial.x.shape[1:])
        victim = PyTorchClassifier(model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0, 1), device_type="cpu")
        rows = {"batch_size": len(trial.x)} if together else {}
        attack = getattr(evasion, name)(victim, verbose=False, **rows, **options(trial))
        starts = {"x_adv_init": trial.start.numpy().copy()} if started else {}
        labels = np.eye(classes, dtype=np.float32)[trial.y.numpy()]
        return torch.from_numpy(attack.generate(trial.x.numpy(), labels, **starts))

    return find


def _hops(trial: Trial) -> int:
    """How many rounds of HopSkipJump so many questions pay: the t-th costs 100 sqrt(t) and some 25 to come back."""
    spent, rounds = 50.0, 0
    while spent + 100 * math.sqrt(rounds + 1) + 25 <= trial.queries:
        rounds += 1
        spent += 100 * math.sqrt(rounds) + 25
    return max(rounds, 1)


def _square(norm: float, name: str) -> dict[str, Find]:
    return {
        "torchattacks": _torchattacks("Square", lambda t: {"norm": name, "eps": t.eps, "n_queries": t.queries}),
        # ART asks about every proposal three times over.
        "ART": _art("SquareAttack", lambda t: {"norm": norm, "eps": t.eps, "max_iter": t.queries // 3}),
        "struthio": _ours(
            lambda t: st.Square(queries=t.queries, rescale_schedule=True), st.L2 if norm == 2 else st.Linf
        ),
    }


def _hop_skip_jump(norm: float, name: str) -> dict[str, Find]:
    return {
        "foolbox": _foolbox("HopSkipJumpAttack", lambda t: {"steps": _hops(t), "constraint": name}),
        "ART": _art("HopSkipJump", lambda t: {"norm": norm, "max_iter": _hops(t)}, started=True),
        "struthio": _ours(lambda t: st.HopSkipJump(queries=t.queries, start=t.start), st.L2 if norm == 2 else st.Linf),
    }


_PIXELS = 80
_CROWD = 3 * _PIXELS  # candidates of a generation; torchattacks takes a multiple of the numbers in a candidate

_ENTRIES: dict[tuple[str, str, str | int | None], dict[str, Find]] = {
    ("square", "linf", "linf"): _square(math.inf, "Linf"),
    ("square", "l2", "l2"): _square(2, "L2"),
    ("simba", "l2", None): {
        "ART": _art("SimBA", lambda t: {"attack": "px", "epsilon": 0.5, "max_iter": t.queries // 2}, together=False),
        "struthio": _ours(lambda t: st.SimBA(queries=t.queries, step=0.5, basis="pixel"), lambda eps: st.L2(100)),
    },
    ("one-pixel", "pixels", _PIXELS): {
        "torchattacks": _torchattacks(
            "OnePixel", lambda t: {"pixels": _PIXELS, "popsize": _CROWD, "steps": t.queries // _CROWD - 1}
        ),
        "struthio": _ours(
            lambda t: st.FewPixels(population=_CROWD, generations=t.queries // _CROWD - 1),
            lambda eps: st.L0(_PIXELS, unit="pixel"),
        ),
    },
    # Each step ART adds all that Adam has moved so far to the picture once more, so its changes grow with the square of
    # the steps: with its own 0.01 it does better than with 0.1. At its own c of 0.001 it wins nothing in so few.
    ("zoo", "l2", None): {
        "ART": _art(
            "ZooAttack",
            lambda t: {
                "max_iter": t.queries // 257,
                "learning_rate": 0.01,
                "use_resize": False,
                "use_importance": False,
                "initial_const": 10,
                "abort_early": False,
            },
            together=False,
        ),
        "struthio": _ours(lambda t: st.ZOO(queries=t.queries, rounds=1, c=10.0), lambda eps: st.L2()),
    },
    ("hop-skip-jump", "l2", None): _hop_skip_jump(2, "l2"),
    ("hop-skip-jump", "linf", None): _hop_skip_jump(math.inf, "linf"),
    ("boundary", "l2", None): {
        "foolbox": _foolbox("BoundaryAttack", lambda t: {"steps": int(t.queries / 1.1)}),
        "ART": _art("BoundaryAttack", lambda t: {"targeted": False, "max_iter": t.queries // 50}, started=True),
        "struthio": _ours(lambda t: st.Boundary(queries=t.queries, start=t.start), lambda eps: st.L2()),
    },
    ("geoda", "l2", None): {
        "ART": _art("GeoDA", lambda t: {"norm": 2, "max_iter": t.queries}),
        "struthio": _ours(lambda t: st.GeoDA(queries=t.queries, start=t.start), lambda eps: st.L2()),
    },
}
