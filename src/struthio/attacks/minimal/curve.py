"""Carlini and Wagner's way to stay between limits: inputs as a tanh of numbers that may be anything."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio.attacks.task import Task
from struthio.threats import Box
from struthio.types import Threat


@dataclass(frozen=True)
class Curve:
    """Inputs between limits as a function of numbers w: middle + half tanh(w) / bend, clipped; w itself without limits.

    Attributes:
        middle: halfway between the limits.
        half: half the span of the limits.
        bend: at which share of the tanh's height the limits lie; None without limits.
    """

    middle: float | Tensor
    half: float | Tensor
    bend: float | None

    @classmethod
    def of(cls, task: Task, bend: float) -> Curve:
        """Between the limits of the task's threat."""
        box = limits(task.threat)
        if box is None:
            return cls(0.0, 1.0, None)
        return cls((box.high + box.low) / 2, (box.high - box.low) / 2, bend)

    def w(self, x: Tensor) -> Tensor:
        """The w of an input."""
        return x if self.bend is None else torch.atanh(((x - self.middle) / self.half).clamp(-1, 1) * self.bend)

    def value(self, w: Tensor) -> Tensor:
        """The input of w."""
        return w if self.bend is None else self.middle + self.half * torch.tanh(w) / self.bend

    def pace(self, w: Tensor) -> Tensor:
        """How fast the input moves with w."""
        return torch.ones_like(w) if self.bend is None else self.half / self.bend * (1 - torch.tanh(w).square())

    def within(self, w: Tensor) -> Tensor:
        """The nearest w whose input is between the limits: beyond, it would be long in coming back."""
        return w if self.bend is None else w.clamp(-math.atanh(self.bend), math.atanh(self.bend))


def limits(threat: Threat) -> Box | None:
    """The limits of the ball inside masks and levels."""
    while hasattr(threat, "threat"):
        threat = threat.threat
    box: Box | None = getattr(threat, "box", None)
    return box
