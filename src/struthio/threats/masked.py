"""Around a threat: some values may not change at all."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.rows import RowGenerator, Rows
from struthio.types import Threat


@dataclass(frozen=True)
class Masked:
    """A threat that may change only what the mask sets.

    Args:
        threat: what may be done there.
        mask: bool, in the shape of one row of x (or broadcastable to it), the same for all; with `each`, one mask a
            row, [n, ...].
        each: whether the first dimension of the mask counts rows.
    """

    threat: Threat
    mask: Tensor
    each: bool = False

    @property
    def eps(self) -> float | Tensor:
        """The radius of the inner threat."""
        return self.threat.eps

    @property
    def p(self) -> float | None:
        """The norm of the inner threat, where it has one."""
        return getattr(self.threat, "p", None)

    @property
    def norm(self) -> str | None:
        """The inner threat's name among the norms of attacks, where it has one."""
        return getattr(self.threat, "norm", None)

    @property
    def reach(self) -> float | Tensor:
        """The longest sensible step of the inner threat."""
        return self.threat.reach

    def check(self, x: Tensor) -> None:
        """Raise UserError where the mask does not fit x, or sets nothing."""
        self.threat.check(x)
        if self.threat.zero(x).shape != x.shape:
            raise UserError(
                f"{type(self.threat).__name__} adds no change to single values, so none can be kept. Mask a "
                "ball such as Linf(8/255), or a Patch."
            )
        if not isinstance(self.mask, Tensor) or self.mask.dtype != torch.bool:
            given = self.mask.dtype if isinstance(self.mask, Tensor) else f"a {type(self.mask).__name__}"
            raise UserError(f"the mask is {given}; a tensor of bool is needed, set where values may change.")
        wanted = tuple(x.shape) if self.each else tuple(x.shape[1:])
        try:
            fits = np.broadcast_shapes(self.mask.shape, wanted) == wanted  # torch's would import sympy: a second
        except ValueError:
            fits = False
        if not fits or (self.each and len(self.mask) != len(x)):
            raise UserError(
                f"the mask has shape {tuple(self.mask.shape)}, but {wanted} is needed. "
                "One mask for all rows has the shape of a row; with each=True there is one a row."
            )
        if not bool(self.mask.any()):
            raise UserError("the mask sets nothing, so nothing may change.")

    def zero(self, x: Tensor) -> Tensor:
        """The inner z that changes nothing."""
        return self.threat.zero(x)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """A random z inside, where the mask is set."""
        return self.threat.sample(x, generator) * self.mask

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """The input that the model sees."""
        return self.threat.apply(x, z)

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The unit step that gains most among those that the mask allows."""
        return self.threat.steepest(x, z, grad * self.mask) * self.mask

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest allowed z: balls and patches treat all values alike, so setting some to zero first is exact."""
        return self.threat.project(x, z * self.mask)

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The size of the inner threat, infinite where something outside the mask changed."""
        outside = ((x_adv != x) & ~self.mask).flatten(1).any(1)
        return self.threat.size(x, x_adv).masked_fill(outside, torch.inf)

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient where a step is not lost."""
        return self.threat.useful(x, z, grad * self.mask)

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Rows that the inner threat allows and that changed nothing outside the mask, bool [n]."""
        return self.threat.allows(x, x_adv) & self.size(x, x_adv).isfinite()

    def farthest(self, x: Tensor) -> Tensor:
        """The largest size that the inner threat's limits allow, [n]."""
        return self.threat.farthest(x)

    def at(self, eps: float | Tensor) -> Masked:
        """The same mask with another radius."""
        return replace(self, threat=self.threat.at(eps))

    def __getitem__(self, rows: Rows) -> Masked:
        return replace(self, threat=self.threat[rows], mask=self.mask[rows] if self.each else self.mask)
