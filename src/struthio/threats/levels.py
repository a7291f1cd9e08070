"""Around a threat: the input must be storable, on the 256 levels of an 8-bit picture."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from struthio.checks import UserError
from struthio.rows import RowGenerator, Rows, per_row, straight_through, where_rows
from struthio.threats.box import PIXELS, Box
from struthio.types import Threat


@dataclass(frozen=True)
class Levels:
    """A threat whose results lie on evenly spaced levels, so that saving them as a picture loses nothing.

    The search moves between the levels; what the model sees is rounded, and the gradient passes through the rounding.
    Where rounding to the nearest level would leave the ball, the row is rounded towards x instead.

    Args:
        threat: what may be done.
        levels: how many levels between the limits, 256 for 8-bit pictures.
        box: the limits of the input.
    """

    threat: Threat
    levels: int = 256
    box: Box = PIXELS

    def __post_init__(self) -> None:
        if self.levels < 2:
            raise UserError(f"Levels was given {self.levels} levels; at least 2 are needed.")

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
        """Raise UserError where x itself does not lie on the levels."""
        self.threat.check(x)
        inner = getattr(self.threat, "box", self.box)
        if inner is None or (inner.low, inner.high) != (self.box.low, self.box.high):
            raise UserError(
                f"the levels lie in {self.box}, but {type(self.threat).__name__} is limited to {inner}. "
                "Name the same limits for both: Levels(threat, box=threat.box)."
            )
        off = float((self._round(x) - x).abs().max())
        if off > self._slack:
            raise UserError(
                f"x lies up to {off:.2g} beside the {self.levels} levels. Round it first, as a saved picture is: "
                f"(x * {self.levels - 1}).round() / {self.levels - 1}."
            )

    @property
    def _slack(self) -> float:
        return 1e-4 * self.box.width / self.levels

    def _span(self, x: Tensor) -> tuple[Tensor, Tensor]:
        low, high = (torch.as_tensor(edge, dtype=x.dtype, device=x.device) for edge in (self.box.low, self.box.high))
        return low, high - low

    def _place(self, x: Tensor) -> Tensor:
        low, span = self._span(x)
        return (x - low) / span * (self.levels - 1)

    def _value(self, place: Tensor) -> Tensor:
        low, span = self._span(place)
        return low + place / (self.levels - 1) * span

    def _round(self, x: Tensor) -> Tensor:
        return self._value(self._place(x).round())

    def zero(self, x: Tensor) -> Tensor:
        """The inner z that changes nothing."""
        return self.threat.zero(x)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """A random inner z."""
        return self.threat.sample(x, generator)

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """The rounded input; the gradient passes as if it were not rounded."""
        moved = self.threat.apply(x, z)
        wanted, here = self._place(moved.detach()), self._place(x).round()
        nearest = self._on(x, here, wanted.round())
        # Rounding towards x keeps every ball: no value moves further than it wanted to.
        inward = self._on(x, here, here + (wanted - here + 1e-4 * (wanted - here).sign()).trunc())
        if self.p is None:  # no ball to leave: a patch stays one, and a moved picture is one up to rounding
            return straight_through(moved, nearest)
        eps = per_row(self.eps, x).flatten()
        over = self.threat.size(x, nearest) > eps * (1 + 1e-5) + 1e-7
        return straight_through(moved, where_rows(over, inward, nearest))

    def _on(self, x: Tensor, here: Tensor, place: Tensor) -> Tensor:
        """The values of these places; x itself, to the last bit, where the place is that of x."""
        return torch.where(place == here, x, self.box.clip(self._value(place)))

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The steepest step of the inner threat."""
        return self.threat.steepest(x, z, grad)

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest z of the inner threat; `apply` rounds."""
        return self.threat.project(x, z)

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The size of the inner threat."""
        return self.threat.size(x, x_adv)

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient where a step is not lost."""
        return self.threat.useful(x, z, grad)

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Rows that the inner threat allows and that lie on the levels, bool [n]."""
        beside = (self._round(x_adv) - x_adv).abs() <= self._slack
        return self.threat.allows(x, x_adv) & beside.flatten(1).all(1)

    def farthest(self, x: Tensor) -> Tensor:
        """The largest size that the inner threat's limits allow, [n]."""
        return self.threat.farthest(x)

    def at(self, eps: float | Tensor) -> Levels:
        """The same levels with another radius."""
        return replace(self, threat=self.threat.at(eps))

    def __getitem__(self, rows: Rows) -> Levels:
        return replace(self, threat=self.threat[rows])
