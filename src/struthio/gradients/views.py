"""Slopes through a view of the picture: scaled in brightness, resized at random, or blurred to stand for shifts.

They make the slope depend less on the one model it is taken on, which is what transfer attacks want.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.gradients.autograd import Autograd
from struthio.rows import RowGenerator
from struthio.types import Gradient, Model

See = Callable[[Tensor], Tensor]
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Scaled:
    """The mean slope over the input at 1, 1/2, 1/4, ... of its values (Lin et al., 2020, arXiv 1908.06281).

    Args:
        inner: how each slope is found.
        copies: how many scales.
    """

    inner: Gradient = field(default_factory=Autograd)
    copies: int = 5

    def __post_init__(self) -> None:
        checks.count(self.copies, "copies")

    def __call__(
        self, model: Model, see: See, z: Tensor, score: Score, generator: RowGenerator
    ) -> tuple[Tensor, Tensor]:
        """The mean slope, and the outputs at full scale."""

        def at(scale: float) -> tuple[Tensor, Tensor]:
            return self.inner(model, lambda point: see(point) * scale, z, score, generator)

        slopes = [at(0.5**copy) for copy in range(self.copies)]
        return torch.stack([grad for grad, _ in slopes]).mean(0), slopes[0][1]


@dataclass(frozen=True)
class Diverse:
    """The slope through a random resize and zero padding of each picture (Xie et al., 2019, arXiv 1803.06978).

    Args:
        inner: how the slope is found.
        probability: how often a row is resized at all.
        smallest: the smallest side drawn, as a share of the picture's.
    """

    inner: Gradient = field(default_factory=Autograd)
    probability: float = 0.5
    smallest: float = 0.9

    def __post_init__(self) -> None:
        if not (0 < self.smallest <= 1 and 0 <= self.probability <= 1):
            raise UserError("Diverse needs a probability in [0, 1] and a smallest side in (0, 1].")

    def __call__(
        self, model: Model, see: See, z: Tensor, score: Score, generator: RowGenerator
    ) -> tuple[Tensor, Tensor]:
        """The slope and the outputs seen through the view."""
        if z.ndim != 4:
            raise UserError(f"a random resize needs pictures [n, c, h, w]; x has shape {tuple(z.shape)}.")
        sides = torch.tensor(z.shape[-2:], dtype=z.dtype, device=z.device)
        chance, *draws = generator.uniform((4,), z.dtype).unbind(1)
        # The side is a whole number of pixels and the padding falls where chance puts it, separately for each row.
        side = ((sides * (self.smallest + (1 - self.smallest) * draws[0][:, None])).round()).clamp(min=1)
        offset = ((sides - side + 1) * torch.stack(draws[1:], 1)).floor()
        plain = chance >= self.probability
        side = torch.where(plain[:, None], sides, side)
        offset = torch.where(plain[:, None], 0.0, offset)

        def view(point: Tensor) -> Tensor:
            return placed(see(point), side, offset, z.shape[-2:])

        return self.inner(model, view, z, score, generator)


def placed(x: Tensor, side: Tensor, offset: Tensor, size: torch.Size, mode: str = "bilinear") -> Tensor:
    """Each picture scaled to `side` [n, 2] (height, width) and put at `offset` [n, 2] on black of a size (h, w)."""
    height, width = size
    lines = torch.arange(height, dtype=x.dtype, device=x.device)
    columns = torch.arange(width, dtype=x.dtype, device=x.device)
    v = (lines[None] + 0.5 - offset[:, :1]) / side[:, :1] * 2 - 1
    u = (columns[None] + 0.5 - offset[:, 1:]) / side[:, 1:] * 2 - 1
    grid = torch.stack([u[:, None, :].expand(-1, height, -1), v[:, :, None].expand(-1, -1, width)], -1)
    inside = (grid.abs() < 1).all(-1)[:, None]
    return F.grid_sample(x, grid, mode=mode, padding_mode="border", align_corners=False) * inside


@dataclass(frozen=True)
class Translated:
    """The slope convolved with a Gaussian kernel (Dong et al., 2019, arXiv 1904.02884).

    Args:
        inner: how the slope is found.
        size: the side of the kernel, odd.
        sigma: its standard deviation, in pixels.
    """

    inner: Gradient = field(default_factory=Autograd)
    size: int = 15
    sigma: float = 3.0

    def __post_init__(self) -> None:
        checks.positive(self.sigma, "sigma")
        checks.count(self.size, "size")
        if self.size % 2 == 0:
            raise UserError(f"the kernel's side is {self.size}; an odd number of at least 1 is needed.")

    def __call__(
        self, model: Model, see: See, z: Tensor, score: Score, generator: RowGenerator
    ) -> tuple[Tensor, Tensor]:
        """The blurred slope, and the outputs."""
        if z.ndim != 4:
            raise UserError(f"blurring the slope needs pictures [n, c, h, w]; x has shape {tuple(z.shape)}.")
        grad, outputs = self.inner(model, see, z, score, generator)
        ticks = torch.arange(self.size, dtype=z.dtype, device=z.device) - self.size // 2
        line = (-0.5 * (ticks / self.sigma) ** 2).exp()
        line = line / line.sum()
        channels = z.shape[1]
        down = line.reshape(1, 1, -1, 1).expand(channels, 1, -1, 1)
        along = line.reshape(1, 1, 1, -1).expand(channels, 1, 1, -1)
        blurred = F.conv2d(grad, down, padding=(self.size // 2, 0), groups=channels)
        return F.conv2d(blurred, along, padding=(0, self.size // 2), groups=channels), outputs
