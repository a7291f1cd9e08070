"""Thermometer and one-hot coding: each value becomes a column of planes of zeros and ones."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense, in_line


class Thermometer(Defense):
    """Writes each value in [0, 1] as `levels` planes: 1 up to its level, 0 above (or 1 at its level alone).

    Buckman, Roy, Raffel, Goodfellow, 2018 (ICLR). A network behind it has `levels` times as many input channels and is
    trained with it: nn.Sequential(Thermometer(16), net). For a network that is there already, `around` reads the planes
    back as one value (`Readout`), so that what is left is its quantisation.

    It has no gradient. For the thermometer the stand-in is that of Athalye, Carlini, Wagner, 2018, arXiv 1802.00420:
    plane k rises with x from k / levels on, cut at 1. For one-hot planes it is our own: a tent, a level wide to
    each side.

    Args:
        levels: how many planes a channel; 16 in the paper.
        code: "thermometer" or "one-hot".
    """

    paper: ClassVar[str] = "Buckman, Roy, Raffel, Goodfellow, 2018, openreview S18Su--CW"

    def __init__(self, levels: int = 16, code: str = "thermometer") -> None:
        super().__init__()
        checks.count(levels, "levels")
        checks.one_of(code, ("thermometer", "one-hot"), "code")
        self.levels, self.code = levels, code

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model behind the planes read back as values."""
        coded = cls(*options, **named)
        return in_line(model, coded, Readout(coded.levels, coded.code))

    def forward(self, x: Tensor) -> Tensor:
        """Inputs [n, c, ...] in [0, 1] as planes [n, c * levels, ...], those of one channel beside each other."""
        level = (x.unsqueeze(2) * self.levels).floor().clamp(0, self.levels - 1)
        ticks = self._ticks(x)
        planes = level >= ticks if self.code == "thermometer" else level == ticks
        return planes.to(x.dtype).flatten(1, 2)

    def stand_in(self, x: Tensor) -> Tensor:
        """Planes that rise and fall with x, of the same shape."""
        x, ticks = x.unsqueeze(2), self._ticks(x)
        if self.code == "thermometer":
            return (x - ticks / self.levels).clamp(0, 1).flatten(1, 2)
        return (1 - (x * self.levels - 0.5 - ticks).abs()).clamp(min=0).flatten(1, 2)

    def _ticks(self, x: Tensor) -> Tensor:
        return torch.arange(self.levels, dtype=x.dtype, device=x.device).reshape(-1, *[1] * (x.ndim - 2))

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"levels={self.levels}, code={self.code!r}"


class Readout(nn.Module):
    """Planes [n, c * levels, ...] back to values [n, c, ...]: the middle of the level that they name.

    Args:
        levels: how many planes a channel.
        code: as that of the `Thermometer` that made them.
    """

    def __init__(self, levels: int, code: str) -> None:
        super().__init__()
        self.levels, self.code = levels, code

    def forward(self, planes: Tensor) -> Tensor:
        """Values in [0, 1], linear in the planes."""
        columns = planes.unflatten(1, (-1, self.levels))
        if self.code == "thermometer":
            value: Tensor = (columns.sum(2) - 0.5) / self.levels
            return value
        ticks = torch.arange(self.levels, dtype=planes.dtype, device=planes.device)
        value = ((columns * ticks.reshape(-1, *[1] * (planes.ndim - 2))).sum(2) + 0.5) / self.levels
        return value
