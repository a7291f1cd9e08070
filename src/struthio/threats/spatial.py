"""Turning and shifting a picture: nothing is added to it, and it is enough to fool most models."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.rows import RowGenerator, Rows, per_row, pick, straight_through, where_rows
from struthio.threats.box import PIXELS, Box

SAME = 1 / 255  # how far values may be beside those of a moved picture: rounded to 8 bits it is still the same
EXACT = 1e-10  # the rest at which a move is found
AT_ONCE = 2**20  # numbers in one batch of moved pictures
COARSE = 16  # the side to which pictures are shrunk where the move between two of them is looked for


@dataclass(frozen=True)
class Spatial:
    """A rotation about the centre and then a shift (Engstrom, Tran, Tsipras, Schmidt, Madry, 2019, arXiv 1712.02779).

    z [n, 3] holds the angle (clockwise), the shift to the right and the shift down, each as a share of the largest
    allowed, so that its size is the largest of the three. Values between pixels are interpolated, and what comes in
    from outside is `fill`. The size of a given picture is found by looking for the move that makes it from x; where
    there is none, it is infinite.

    Args:
        eps: how much of the angle and of the shift is allowed, a number in [0, 1] or one a row [n].
        angle: the largest angle, in degrees.
        shift: the largest shift, as a share of the picture's side.
        fill: the value outside the picture, black by default.
        box: the limits of the input; None for no limits.
    """

    norm: ClassVar[str] = "spatial"

    eps: float | Tensor = 1.0
    angle: float = 30.0
    shift: float = 0.1
    fill: float = 0.0
    box: Box | None = PIXELS

    def __post_init__(self) -> None:
        checks.radius(self.eps, "Spatial")
        checks.positive(self.angle, "angle")
        checks.positive(self.shift, "shift")
        most = torch.as_tensor(self.eps)
        if bool((most.isfinite() & (most > 1)).any()):
            raise UserError(
                f"Spatial was given eps = {float(most.max()):g}; it is a share of the largest angle and shift, at most "
                "1. For larger moves name them: Spatial(angle=45, shift=0.2)."
            )

    @property
    def reach(self) -> float | Tensor:
        """The longest step that makes sense: the share allowed."""
        return self.eps

    def check(self, x: Tensor) -> None:
        """Raise UserError where x is no batch of pictures [n, c, h, w] within the limits, or radii do not match."""
        low, high = (self.box.low, self.box.high) if self.box else (None, None)
        checks.inputs(x, low, high, "Spatial")
        if x.ndim != 4:
            raise UserError(f"Spatial moves pictures [n, c, h, w]; x has shape {tuple(x.shape)}.")
        if isinstance(self.eps, Tensor) and self.eps.ndim == 1 and len(self.eps) != len(x):
            raise UserError(f"Spatial has {len(self.eps)} radii for {len(x)} rows; one each is needed.")

    def zero(self, x: Tensor) -> Tensor:
        """No move."""
        return torch.zeros(len(x), 3, dtype=x.dtype, device=x.device)

    def sample(self, x: Tensor, generator: RowGenerator) -> Tensor:
        """Every allowed move with equal chance."""
        return (2 * generator.uniform((3,), x.dtype) - 1) * self._radius(x)

    def apply(self, x: Tensor, z: Tensor) -> Tensor:
        """The moved pictures; differentiable in z."""
        h, w = x.shape[2:]
        turn = z[:, 0] * math.radians(self.angle)
        cos, sin = turn.cos(), turn.sin()
        # Where each place comes from, in coordinates from -1 to 1: undo the shift, then the rotation.
        right, down = 2 * self.shift * z[:, 1], 2 * self.shift * z[:, 2]
        across = torch.stack([cos, sin * h / w, -cos * right - sin * h / w * down], 1)
        along = torch.stack([-sin * w / h, cos, sin * w / h * right - cos * down], 1)
        grid = F.affine_grid(torch.stack([across, along], 1), list(x.shape), align_corners=False)
        moved = F.grid_sample(x - self.fill, grid, padding_mode="zeros", align_corners=False) + self.fill
        exact = where_rows((z == 0).all(1), x, moved if self.box is None else self.box.clip(moved))
        return straight_through(moved, exact)

    def steepest(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The sign of the gradient: angle and shifts are limited each for itself."""
        return grad.sign()

    def useful(self, x: Tensor, z: Tensor, grad: Tensor) -> Tensor:
        """The gradient, set to zero where angle or shift are as large as allowed."""
        radius = self._radius(x)
        return grad.masked_fill(((grad > 0) & (z >= radius)) | ((grad < 0) & (z <= -radius)), 0.0)

    def project(self, x: Tensor, z: Tensor) -> Tensor:
        """The nearest allowed move."""
        radius = self._radius(x)
        return z.minimum(radius).maximum(-radius)

    def size(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """The largest share of the move that makes x_adv from x, [n]; infinite where none does."""
        same = (x == x_adv).flatten(1).all(1)
        size = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        moved = (~same).nonzero().flatten()
        if len(moved):
            z, beside = self[moved]._least(x[moved], x_adv[moved])
            size[moved] = z.abs().amax(1).to(x.dtype).masked_fill(beside > self._same, torch.inf)
        return size

    def allows(self, x: Tensor, x_adv: Tensor) -> Tensor:
        """Rows that an allowed move makes from x, up to the rounding of a saved picture, bool [n]."""
        return self.size(x, x_adv) <= torch.as_tensor(self.eps, device=x.device) * (1 + 1e-3) + 1e-6

    def farthest(self, x: Tensor) -> Tensor:
        """The whole angle and shift."""
        return torch.ones(len(x), dtype=x.dtype, device=x.device)

    def at(self, eps: float | Tensor) -> Spatial:
        """The same angle and shift with another share allowed."""
        return replace(self, eps=eps)

    def __getitem__(self, rows: Rows) -> Spatial:
        return replace(self, eps=pick(self.eps, rows))

    @property
    def _same(self) -> float:
        return SAME * (self.box.width if self.box else 1.0)

    def _radius(self, x: Tensor) -> Tensor:
        eps = torch.as_tensor(self.eps, dtype=x.dtype, device=x.device).clamp(max=1)
        return per_row(eps, self.zero(x)).expand(len(x), 1)

    def _least(self, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """The move found, or where an allowed one makes x_adv up to rounding, that; and how far values are beside."""
        z, beside = self.found(x, x_adv)
        allowed = self.project(x, z.to(x.dtype))
        off = (self.apply(x, allowed) - x_adv).abs().flatten(1).amax(1)
        same = off <= self._same
        return where_rows(same, allowed.to(z.dtype), z), torch.where(same, off.to(beside.dtype), beside)

    @torch.no_grad()
    def found(self, x: Tensor, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """The move [n, 3] that makes x_adv from x as nearly as possible, and how far values are beside it, [n]."""
        best, beside = self.zero(x).double(), torch.full((len(x),), torch.inf, dtype=torch.float64, device=x.device)
        guesses = self._guesses(x, x_adv)
        x, x_adv = x.double(), x_adv.double()
        for start in guesses:
            missed = (beside > self._same / 10).nonzero().flatten()
            if not len(missed):
                break
            z = self._refined(x[missed], x_adv[missed], start[missed].double())
            off = (self.apply(x[missed], z) - x_adv[missed]).abs().flatten(1).amax(1)
            best[missed] = where_rows(off < beside[missed], z, best[missed])
            beside[missed] = off.minimum(beside[missed])
        return best, beside

    def _guesses(self, x: Tensor, x_adv: Tensor, count: int = 3) -> list[Tensor]:
        """The moves of a grid, about a pixel apart in shrunken pictures, after which x is most like x_adv."""
        x, x_adv = (
            F.adaptive_avg_pool2d(part, (min(x.shape[2], COARSE), min(x.shape[3], COARSE))) for part in (x, x_adv)
        )
        side = max(x.shape[2:])
        moves = self.grid(
            x, 2 * math.ceil(math.radians(self.angle) * side / 2) + 1, 2 * math.ceil(self.shift * side) + 1
        )
        parts = moves.split(max(1, AT_ONCE // x.numel()))
        off = torch.cat([(self._each(x, z[:, None]) - x_adv).square().flatten(2).sum(2) for z in parts])
        return list(moves[off.topk(min(count, len(moves)), dim=0, largest=False).indices])

    def _each(self, x: Tensor, z: Tensor) -> Tensor:
        """All rows of x moved by each of several z [k, n or 1, 3], [k, n, ...]."""
        many = x.expand(len(z), *x.shape)
        return self.apply(many.flatten(0, 1), z.expand(-1, len(x), 3).flatten(0, 1)).reshape(many.shape)

    def grid(self, x: Tensor, angles: int, shifts: int) -> Tensor:
        """All moves of an even grid over angle, shift to the right and shift down, [angles * shifts^2, 3]."""
        turns, steps = ((2 * torch.arange(count).to(x) - count + 1) / max(count - 1, 1) for count in (angles, shifts))
        return torch.cartesian_prod(turns, steps, steps)

    def _refined(self, x: Tensor, x_adv: Tensor, z: Tensor, steps: int = 25) -> Tensor:
        """Levenberg and Marquardt's steps towards the move that leaves nothing over."""
        damping = torch.full((len(x), 1), 1e-3, dtype=x.dtype, device=x.device)
        over = (x_adv - self.apply(x, z)).flatten(1)
        there = over.abs().amax(1) < EXACT
        for _ in range(steps):
            if bool(there.all()):
                break
            nudges = 1e-6 * torch.eye(3, dtype=x.dtype, device=x.device)
            up, down = (self._each(x, z + sign * nudges[:, None]).flatten(2) for sign in (1, -1))
            slope = ((up - down) / 2e-6).permute(1, 2, 0)
            square = slope.mT @ slope
            weight = torch.diag_embed(damping * square.diagonal(dim1=1, dim2=2) + 1e-12)
            tried = z + torch.linalg.solve(square + weight, slope.mT @ over[:, :, None])[:, :, 0]
            left = (x_adv - self.apply(x, tried)).flatten(1)
            better = ~there & (left.square().sum(1) < over.square().sum(1))
            there = there | (better & ((tried - z).abs().amax(1) < EXACT)) | (left.abs().amax(1) < EXACT)
            z, over = where_rows(better, tried, z), where_rows(better, left, over)
            damping = torch.where(better[:, None], damping / 10, damping * 10)
        return z
