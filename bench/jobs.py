"""What every tool is asked to do: one attack with all its numbers named, so that no default differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

Found = tuple[Tensor, Tensor | None]  # x_adv [n, ...], and whether each row won, where the tool says so by itself


@dataclass(frozen=True)
class Tool:
    """An attack by one tool, set up and ready to run.

    Attributes:
        run: does it, every time from the beginning.
        models: the modules that it asks, each counted.
    """

    run: Callable[[], Found]
    models: tuple[nn.Module, ...]


STEPS = {"fgsm": 1, "mi-fgsm": 10, "pgd-linf": 40, "pgd-l2": 40, "apgd-ce": 100}
TRAVEL = {"fgsm": 1.0, "mi-fgsm": 1.0, "pgd-linf": 2.5, "pgd-l2": 8.0}  # all steps together, in radii


@dataclass(frozen=True)
class Job:
    """One attack on one batch.

    Attributes:
        attack: a name in STEPS.
        model: logits of inputs in [0, 1], in evaluation mode.
        x: the inputs [n, ...].
        y: their classes, int64 [n].
        eps: the radius.
        steps: how many gradient steps.
        share: the length of a step as a share of the radius.
    """

    attack: str
    model: nn.Module
    x: Tensor
    y: Tensor
    eps: float
    steps: int
    share: float

    @property
    def norm(self) -> float:
        """The norm of the radius: 2, or infinity."""
        return 2 if self.attack.endswith("l2") else float("inf")


def job(attack: str, model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int | None = None) -> Job:
    """The job with the settings of the benchmark. Auto-PGD begins with steps of two radii, whatever their number."""
    steps = steps or STEPS[attack]
    share = TRAVEL[attack] / steps if attack in TRAVEL else 2.0
    return Job(attack, model, x, y, eps, steps, share)
