"""How a slope becomes a direction: the rules of the `ascend` loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio import checks
from struthio.rows import per_row
from struthio.types import State


def _unit_mean(grad: Tensor) -> Tensor:
    """The gradient over its mean absolute value, per row: the L1 norm up to a factor that no step can see."""
    mean = grad.flatten(1).abs().mean(1)
    return grad / per_row(mean.clamp(min=torch.finfo(grad.dtype).tiny), grad)


@dataclass(frozen=True)
class Plain:
    """Go where the slope leads."""

    def start(self, z: Tensor) -> State:
        """Nothing is remembered."""
        return {}

    def where(self, z: Tensor, state: State, step: Tensor) -> Tensor:
        """The slope is taken at z."""
        return z

    def direction(self, grad: Tensor, nearby: Callable[[float], Tensor], state: State) -> tuple[Tensor, State]:
        """The slope itself."""
        return grad, state


@dataclass(frozen=True)
class Momentum:
    """Add up slopes of unit L1 norm (Dong et al., 2018, arXiv 1710.06081).

    Args:
        decay: mu, the share of the sum that is kept.
        nesterov: take the slope where the momentum leads next (Lin et al., 2020, arXiv 1908.06281).
    """

    decay: float = 1.0
    nesterov: bool = False

    def __post_init__(self) -> None:
        checks.not_negative(self.decay, "decay")

    def start(self, z: Tensor) -> State:
        """No momentum yet."""
        return {"momentum": torch.zeros_like(z)}

    def where(self, z: Tensor, state: State, step: Tensor) -> Tensor:
        """The slope is taken at z, or one momentum step ahead."""
        return z + step * self.decay * state["momentum"] if self.nesterov else z

    def direction(self, grad: Tensor, nearby: Callable[[float], Tensor], state: State) -> tuple[Tensor, State]:
        """The decayed sum of normalised slopes."""
        momentum = self.decay * state["momentum"] + _unit_mean(grad)
        return momentum, {"momentum": momentum}


@dataclass(frozen=True)
class VarianceTuned:
    """Momentum on slopes corrected by how they vary nearby (Wang and He, 2021, arXiv 2103.15571).

    Args:
        decay: mu, the share of the momentum that is kept.
        samples: N, how many nearby slopes.
        beta: how far away they are, as a share of eps.
    """

    decay: float = 1.0
    samples: int = 20
    beta: float = 1.5

    def __post_init__(self) -> None:
        checks.not_negative(self.decay, "decay")
        checks.count(self.samples, "samples")
        checks.positive(self.beta, "beta")

    def start(self, z: Tensor) -> State:
        """No momentum and no variance yet."""
        return {"momentum": torch.zeros_like(z), "variance": torch.zeros_like(z)}

    def where(self, z: Tensor, state: State, step: Tensor) -> Tensor:
        """The slope is taken at z."""
        return z

    def direction(self, grad: Tensor, nearby: Callable[[float], Tensor], state: State) -> tuple[Tensor, State]:
        """Momentum of the corrected slope; the variance found here corrects the next one."""
        momentum = self.decay * state["momentum"] + _unit_mean(grad + state["variance"])
        around = sum((nearby(self.beta) for _ in range(self.samples)), torch.zeros_like(grad)) / self.samples
        return momentum, {"momentum": momentum, "variance": around - grad}
