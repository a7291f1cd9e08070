"""A patch: one rectangle of the picture may hold anything, and the rest stays as it is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.rows import RowGenerator, Rows, pick, straight_through
from struthio.threats import projections
from struthio.threats.box import PIXELS, Box


@dataclass(frozen=True)
class Patch:
    """One rectangle of a picture changes, to any values within the limits (Brown, Mane, Roy, Abadi, Gilmer, 2017, arXiv
    1712.09665, there round and the same for all pictures).

    z [n, c, h, w] is the change x_adv - x, zero outside the rectangle. The size of a change is that of the smallest
    rectangle around it, as a share of the height and width allowed, whichever share is larger; so the radius says how
    much of both sides is allowed (rounded down to whole pixels), and `SmallestRadius` looks for the smallest patch.

    Args:
        height: of the rectangle, in pixels.
        width: of the rectangle; None makes it a square.
        place: its top and left, counted from 0, the same for all rows; None leaves the place to the adversary. Smaller
            patches may lie anywhere in the rectangle named here.
        eps: the share of height and width allowed, one number or one a row [n].
        box: the limits of the input; None for no limits.
    """

    norm: ClassVar[str] = "patch"

    height: int
    width: int | None = None
    place: tuple[int, int] | None = None
    eps: float | Tensor = 1.0
    box: Box | None = PIXELS

    def __post_init__(self) -> None:
        checks.count(self.height, "height")
        checks.count(self._width, "width")
        checks.radius(self.eps, "Patch")
        if self.place is not None and not (
            len(self.place) == 2 and all(isinstance(edge, int) and edge >= 0 for edge in self.place)
        ):
            raise UserError(f"place is {self.place!r}; the patch's top and left are needed, counted from 0: (3, 10).")

    @property
    def _width(self) -> int:
        return self.height if self.width is None else self.width

    @property
    def reach(self) -> float:
        """The longest step that makes sense: from one limit to the other, whatever the radius."""
        return self.box.width if self.box else 1.0

    def check(self, x: Tensor) -> None:
        """Raise UserError where x is no batch of pictures [n, c, h, w] within the limits that the patch fits into."""
        low, high = (self.box.low, self.box.high) if self.box else (None, None)
        checks.inputs(x, low, high, "Patch")
        if x.ndim != 4:
            raise UserError(f"Patch covers pictures [n, c, h, w]; x has shape {tuple(x.shape)}.")
        top, left = self.place or (0, 0)
        if top + self.height > x.shape[2] or left + self._width > x.shape[3]:
            raise UserError(
                f"a patch of {self.height} x {self._width} pixels at {(top, left)} does not lie within a picture of "
                f"{x.shape[2]} x {x.shape[3]}."
            )
        if isinstance(self.eps, Tensor) and self.eps.ndim == 1 and len(self.eps) != len(x):
            raise UserError(f"Patch has {len(self.eps)} radii for {len(x)} rows; one each is needed.")

    def frame(self, x: Tensor) -> tuple[int, int, int, int]:
        """Where a patch may lie: top, left, bottom and right, the last two just outside."""
        if self.place is None:
            return 0, 0, x.shape[2], x.shape[3]
        return *self.place, self.place[0] + self.height, self.place[1] + self._width

    def sides(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Height and width of each row's patch in pixels, int64 [n] each."""
        top, left, bottom, right = self.frame(x)
        share = torch.as_tensor(self.eps, device=x.device).double().expand(len(x))
        high = (share * self.height + 1e-6).clamp(max=bottom - top).long()
        wide = (share * self._width + 1e-6).clamp(max=right - left).long()
        return high * (wide > 0), wide * (high > 0)

    def zero(self, x: Tensor) -> Tensor:
        """No change."""
        return torch.zeros_like(x)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Every place with equal chance, and there every value."""
        top, left, bottom, right = self.frame(x)
        high, wide = self.sides(x)
        lot = generator.uniform((2,), torch.float64)
        down = top + (lot[:, 0] * (bottom - top - high + 1)).long()
        across = left + (lot[:, 1] * (right - left - wide + 1)).long()
        box = self.box or PIXELS
        value = box.low + generator.uniform(x.shape[1:], x.dtype) * (torch.as_tensor(box.high) - box.low).to(x)
        return projections.clip((value - x) * rectangle(x, down, across, high, wide), self._room(x))

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """X + z, without the rounding error that could carry it over a limit."""
        moved = x + z
        return moved if self.box is None else straight_through(moved, self.box.clip(moved))

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The sign of the gradient in one rectangle: where z is, or, while it leaves a choice, where most is to gain.

        What there is to gain is the slope times the room before the limits.
        """
        slope, room = self.useful(x, z, grad), self._room(x)
        gain = slope.abs() if room is None else slope.abs() * torch.where(slope > 0, room[1] - z, z - room[0])
        return slope.sign() * self._best(x, gain, self._choice(x, z))

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient, set to zero where no rectangle that holds z would reach, and where a limit is met."""
        top, bottom, left, right = self._choice(x, z)
        high, wide = self.sides(x)
        grad = grad * rectangle(x, top, left, bottom - top + high, right - left + wide) * self._framed(x)
        room = self._room(x)
        if room is None:
            return grad
        return grad.masked_fill(((grad > 0) & (z >= room[1])) | ((grad < 0) & (z <= room[0])), 0.0)

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest allowed change, exactly: between the limits, in the rectangle that keeps most of it."""
        kept = projections.clip(z, self._room(x)) * self._framed(x)
        gain = kept.double() * (2 * z.double() - kept.double())  # z^2 - (z - kept)^2, without cancelling
        return kept * self._best(x, gain)

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The smallest rectangle around the change as a share of the patch, [n]; infinite where place is not kept."""
        changed = (x_adv != x).any(1)
        top, bottom, left, right = extent(changed)
        share = torch.maximum((bottom - top) / self.height, (right - left) / self._width).clamp(min=0)
        outside = (changed & (self._framed(x) == 0)).flatten(1).any(1)
        return share.to(x.dtype).masked_fill(outside, torch.inf)

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Rows that changed in one allowed rectangle only and lie within the limits up to rounding, bool [n]."""
        within = self.size(x, x_adv) <= torch.as_tensor(self.eps, device=x.device) * (1 + 1e-4) + 1e-6
        return within if self.box is None else within & self.box.holds(x_adv)

    def farthest(self, x: Tensor) -> Tensor:
        """The share at which a patch fills the picture, or the place named, [n]."""
        top, left, bottom, right = self.frame(x)
        share = max((bottom - top) / self.height, (right - left) / self._width)
        return torch.full((len(x),), share, dtype=x.dtype, device=x.device)

    def at(self, eps: float | Tensor) -> Patch:
        """The same patch with another share of its sides allowed."""
        return replace(self, eps=eps)

    def __getitem__(self, rows: Rows) -> Patch:
        return replace(self, eps=pick(self.eps, rows))

    def _room(self, x: Tensor) -> projections.Room:
        return None if self.box is None else self.box.room(x)

    def _framed(self, x: Tensor) -> Tensor:
        inside = x.new_zeros(x.shape[2:])
        top, left, bottom, right = self.frame(x)
        inside[top:bottom, left:right] = 1
        return inside

    def _choice(self, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The first and last top, then the first and last left, of rectangles that hold z; [n] each."""
        top, left, bottom, right = self.frame(x)
        first, last, leftmost, rightmost = extent((z != 0).any(1))
        found = []
        for low, high, side, start, end in zip(
            (first, leftmost), (last, rightmost), self.sides(x), (top, left), (bottom, right), strict=True
        ):
            ends = (high - side).clamp(min=start), torch.minimum(low, end - side)
            found += [torch.minimum(*ends), torch.maximum(*ends)]  # in turn where z is larger than the rectangle
        return found[0], found[1], found[2], found[3]

    def _best(self, x: Tensor, gain: Tensor, choice: tuple[Tensor, Tensor, Tensor, Tensor] | None = None) -> Tensor:
        """The rectangle with the largest sum of gains [n, c, h, w], as zeros and ones [n, 1, h, w]."""
        high, wide = self.sides(x)
        sums = _sums(gain.double().sum(1), high, wide)
        if choice is not None:
            down, across = (torch.arange(side, device=x.device) for side in x.shape[2:])
            lines = (down >= choice[0][:, None]) & (down <= choice[1][:, None])
            columns = (across >= choice[2][:, None]) & (across <= choice[3][:, None])
            sums = sums.masked_fill(~(lines[:, :, None] & columns[:, None, :]), -torch.inf)
        best = sums.flatten(1).argmax(1)
        return rectangle(x, best // x.shape[3], best % x.shape[3], high, wide)


def rectangle(x: Tensor, top: Tensor, left: Tensor, high: Tensor, wide: Tensor) -> Tensor:
    """One rectangle a row as zeros and ones [n, 1, h, w]; what lies beyond the picture is left out."""
    down, across = (torch.arange(side, device=x.device) for side in x.shape[2:])
    lines = (down >= top[:, None]) & (down < (top + high)[:, None])
    columns = (across >= left[:, None]) & (across < (left + wide)[:, None])
    return (lines[:, :, None] & columns[:, None, :])[:, None].to(x.dtype)


def extent(changed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Top and bottom, left and right of what is set in each row [n, h, w], [n] each, bottom and right just outside.

    Where nothing is set, the top is the picture's height, the left its width, and bottom and right are 0.
    """
    found = []
    for dim in (2, 1):
        some = changed.any(dim)
        place = torch.arange(some.shape[1], device=some.device)
        found += [torch.where(some, place, some.shape[1]).amin(1), torch.where(some, place + 1, 0).amax(1)]
    return found[0], found[1], found[2], found[3]


def _sums(gain: Tensor, high: Tensor, wide: Tensor) -> Tensor:
    """The sum of gains [n, h, w] over the rectangle that begins at each place, as far as it lies in the picture."""
    h, w = gain.shape[1:]
    total = torch.zeros(len(gain), h + 1, w + 1, dtype=gain.dtype, device=gain.device)
    total[:, 1:, 1:] = gain.cumsum(1).cumsum(2)
    below = (torch.arange(h, device=gain.device) + high[:, None]).clamp(max=h)
    beyond = (torch.arange(w, device=gain.device) + wide[:, None]).clamp(max=w)
    strips = total.gather(1, below[:, :, None].expand(-1, -1, w + 1)) - total[:, :h]
    return strips.gather(2, beyond[:, None, :].expand(-1, h, -1)) - strips[:, :, :w]
