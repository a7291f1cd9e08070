"""The four balls: a change z = x_adv - x of limited size, in the maximum, Euclidean, absolute-sum or counting norm."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import ClassVar, Self

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.rows import RowGenerator, Rows, norm, per_row, pick
from struthio.threats import projections
from struthio.threats.box import PIXELS, Box


@dataclass(frozen=True)
class Ball:
    """What the four balls share. Use `Linf`, `L2`, `L1` or `L0`.

    Args:
        eps: the radius, a number >= 0 or one a row [n]; infinite where an attack looks for the smallest change.
        box: the limits of the input; None for no limits (the fast gradient sign method as first published never clips).
    """

    eps: float | Tensor = math.inf
    box: Box | None = PIXELS

    p: ClassVar[float]
    norm: ClassVar[str]  # as attacks name it

    def __post_init__(self) -> None:
        checks.radius(self.eps, type(self).__name__, self._widest())

    def _widest(self) -> float | None:
        return None

    @property
    def reach(self) -> float | Tensor:
        """The longest step that makes sense: the radius."""
        return self.eps

    def check(self, x: Tensor) -> None:
        """Raise UserError where x is empty, not finite or outside the limits, or radii do not match its rows."""
        low, high = (self.box.low, self.box.high) if self.box else (None, None)
        checks.inputs(x, low, high, type(self).__name__)
        if isinstance(self.eps, Tensor) and self.eps.ndim == 1 and len(self.eps) != len(x):
            raise UserError(f"{type(self).__name__} has {len(self.eps)} radii for {len(x)} rows; one each is needed.")

    def zero(self, x: Tensor) -> Tensor:
        """No change."""
        return torch.zeros_like(x)

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """X + z, without the rounding error that could carry it over a limit; the gradient passes as if by x + z."""
        moved = x + z
        if self.box is not None:
            with torch.no_grad():
                moved.clamp_(self.box.low, self.box.high)  # type: ignore[arg-type]
        return moved

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest allowed change, exactly: in the ball and between the limits."""
        return self._nearest(z, self._radius(x), self._room(x))

    def about(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """`project` for this x alone, for loops: what does not depend on z is worked out once."""
        return partial(self._nearest, eps=self._radius(x), room=self._room(x))

    def _nearest(self, z: Tensor, eps: Tensor | float, room: projections.Room) -> Tensor:
        raise NotImplementedError

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The norm of the change, [n]."""
        return norm(x_adv - x, self.p)

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Rows within the radius and the limits, up to rounding, bool [n]."""
        within = self.size(x, x_adv) <= torch.as_tensor(self.eps, device=x.device) * (1 + 1e-4) + 1e-6
        return within if self.box is None else within & self.box.holds(x_adv)

    def farthest(self, x: Tensor) -> Tensor:
        """The size of the largest change that the limits allow, [n]; infinite without limits."""
        if self.box is None:
            return torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
        low, high = self.box.room(x)
        return self.size(x, x + torch.where(high > -low, high, low))

    def at(self, eps: float | Tensor) -> Self:
        """The same ball with another radius."""
        return replace(self, eps=eps)

    def __getitem__(self, rows: Rows) -> Self:
        return replace(self, eps=pick(self.eps, rows))

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient, set to zero where it leads out of the limits and a step would be lost."""
        room = self._room(x)
        if room is None:
            return grad
        return grad.masked_fill(((grad > 0) & (z >= room[1])) | ((grad < 0) & (z <= room[0])), 0.0)

    def _room(self, x: Tensor) -> projections.Room:
        return None if self.box is None else self.box.room(x)

    def _radius(self, x: Tensor) -> Tensor | float:
        return per_row(self.eps, x) if isinstance(self.eps, Tensor) else self.eps

    def _inside(self, x: Tensor, z: Tensor) -> Tensor:
        return projections.clip(z, self._room(x))


@dataclass(frozen=True)
class Linf(Ball):
    """Every value may change by at most eps."""

    p: ClassVar[float] = math.inf
    norm: ClassVar[str] = "linf"

    def _widest(self) -> float | None:
        return self.box.width if self.box else None

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The sign of the gradient."""
        return grad.sign()

    def about(self, x: Tensor) -> Callable[[Tensor], Tensor]:
        """`project` for this x alone: the radius and the limits are one interval for each value."""
        room, eps = self._room(x), self._radius(x)
        if room is None:
            return super().about(x)
        return partial(projections.clip, room=(room[0].clamp(min=-eps), room[1].clamp(max=eps)))

    def _nearest(self, z: Tensor, eps: Tensor | float, room: projections.Room) -> Tensor:
        return projections.project_linf(z, eps, room)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Uniform in the ball, then clipped to the limits."""
        return self._inside(x, (2 * generator.uniform(x.shape[1:], x.dtype) - 1) * self._radius(x))


@dataclass(frozen=True)
class L2(Ball):
    """The change has Euclidean length at most eps."""

    p: ClassVar[float] = 2
    norm: ClassVar[str] = "l2"

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient at length 1 (zero stays zero)."""
        return grad / per_row(norm(grad, 2).clamp(min=torch.finfo(grad.dtype).tiny), grad)

    def _nearest(self, z: Tensor, eps: Tensor | float, room: projections.Room) -> Tensor:
        return projections.project_l2(z, eps, room)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Uniform in the ball, then clipped to the limits."""
        way = generator.normal(x.shape[1:], x.dtype)
        length = generator.uniform((), x.dtype) ** (1 / x[0].numel())
        return self._inside(x, way / per_row(norm(way, 2), x) * per_row(length, x) * self._radius(x))


@dataclass(frozen=True)
class L1(Ball):
    """The absolute changes sum to at most eps."""

    p: ClassVar[float] = 1
    norm: ClassVar[str] = "l1"
    share: ClassVar[float] = 0.01  # of the values, moved by one step: SLIDE (Tramer and Boneh, 2019, arXiv 1904.13000)

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The sign of the gradient on the few values where it is largest and that still have room, summing to 1."""
        useful = self.useful(x, z, grad)
        height = useful.flatten(1).abs()
        count = max(1, round(self.share * height.shape[1]))
        step = torch.zeros_like(height)
        top = height.topk(count, dim=1).indices
        step.scatter_(1, top, useful.flatten(1).gather(1, top).sign() / count)
        return step.reshape(grad.shape)

    def _nearest(self, z: Tensor, eps: Tensor | float, room: projections.Room) -> Tensor:
        return projections.project_l1(z, eps, room)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Uniform in the ball, then clipped to the limits."""
        parts = generator.exponential((x[0].numel() + 1,), x.dtype)
        share = (parts / parts.sum(1, keepdim=True))[:, :-1].reshape(x.shape)
        sign = (generator.uniform(x.shape[1:], x.dtype) < 0.5).to(x.dtype) * 2 - 1
        return self._inside(x, share * sign * self._radius(x))


@dataclass(frozen=True)
class L0(Ball):
    """At most eps values may change, each as far as the limits allow.

    Args:
        eps: how many, a whole number.
        box: the limits of the input.
        unit: "feature" counts every entry of x; "pixel" counts places of [n, c, h, w], all channels together.
    """

    unit: str = "feature"
    p: ClassVar[float] = 0
    norm: ClassVar[str] = "l0"

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.one_of(self.unit, ("feature", "pixel"), "unit")
        eps = torch.as_tensor(self.eps)
        if bool(((eps != eps.round()) & eps.isfinite()).any()):
            raise UserError(f"L0 was given eps = {self.eps}; it counts {self.unit}s, so a whole number is needed.")

    @property
    def reach(self) -> float:
        """A step moves the average value by this share of the limits (Croce and Hein, 2019, arXiv 1909.05040,
        took .15 of 1).
        """
        return 2.5 * (self.box.width if self.box else 1.0)

    def check(self, x: Tensor) -> None:
        """Raise UserError as for every ball, and where pixels are to be counted in something that has none."""
        super().check(x)
        if self.unit == "pixel" and x.ndim != 4:
            raise UserError(f"L0(unit='pixel') needs pictures [n, c, h, w]; x has shape {tuple(x.shape)}.")

    def at(self, eps: float | Tensor) -> Self:
        """The same ball with another count, rounded up to a whole number."""
        whole = eps.ceil() if isinstance(eps, Tensor) else float(torch.tensor(float(eps)).ceil())
        return replace(self, eps=whole)

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """How many values or pixels differ, [n]."""
        changed = x_adv != x
        if self.unit == "pixel":
            changed = changed.any(1)
        return changed.flatten(1).sum(1).to(x.dtype)

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient, scaled so that its values have mean size 1; `project` then keeps the few that gain most."""
        mean = grad.flatten(1).abs().mean(1)
        return grad / per_row(mean.clamp(min=torch.finfo(grad.dtype).tiny), grad)

    def _nearest(self, z: Tensor, eps: Tensor | float, room: projections.Room) -> Tensor:
        """The eps entries that keep most of z, between the limits."""
        return projections.project_l0(z, eps, room, self.unit == "pixel")

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Uniform values between the limits in randomly chosen places."""
        box = self.box or PIXELS
        span = torch.as_tensor(box.high) - torch.as_tensor(box.low)
        value = box.low + generator.uniform(x.shape[1:], x.dtype) * span
        places = (len(x), 1, *x.shape[2:]) if self.unit == "pixel" else x.shape
        lot = generator.uniform(places[1:], x.dtype)
        rank = lot.flatten(1).argsort(1).argsort(1).reshape(lot.shape)
        return torch.where(rank < self._radius(x), value - x, 0.0)
