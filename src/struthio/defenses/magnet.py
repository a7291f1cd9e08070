"""MagNet's reformer: an autoencoder of ordinary pictures moves what lies beside them back among them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.defenses.training import USUAL, Course, Progress, fresh, train


class Reformer(Defense):
    """x becomes ae(x), where ae never saw an attack (Meng and Chen, 2017, arXiv 1705.09064).

    The other half of MagNet, the detectors, compare a picture with what becomes of it: `detectors/magnet.py`. All of
    MagNet is both around one network:

        reformer = Reformer().fit(x)
        model = Guarded(nn.Sequential(reformer, net), detector)

    Its gradient is right. Carlini and Wagner, 2017, arXiv 1711.08478, broke it by transfer from one of their own.

    Args:
        channels: of the pictures [n, channels, h, w] in [0, 1].
        structure: the way down, channels of 3 x 3 convolutions or "average" for pooling by two, which is gone back up
            in reverse. Published for digits: (3, "average", 3), and (3,) for the second detector; wider here, because
            thousands of digits take the place of ten thousands.
        activation: after each convolution but the last, "sigmoid" as published for digits, or "relu". The last is
            always followed by a sigmoid.
    """

    paper: ClassVar[str] = "Meng and Chen, 2017, arXiv 1705.09064"

    def __init__(
        self, channels: int = 1, structure: Sequence[int | str] = (16, "average", 16), activation: str = "relu"
    ) -> None:
        super().__init__()
        checks.count(channels, "channels")
        checks.one_of(activation, ("relu", "sigmoid"), "activation")
        if not structure or any(step != "average" and (not isinstance(step, int) or step < 1) for step in structure):
            raise UserError(f"structure is {tuple(structure)}; channels of convolutions, or 'average', are needed.")
        self.structure = tuple(structure)
        inside, layers = channels, []
        for out in (step for way in (structure, structure[::-1]) for step in way if isinstance(step, int)):
            layers.append(nn.Conv2d(inside, out, 3, padding=1))
            inside = out
        self.convolutions = nn.ModuleList(layers)
        self.last = nn.Conv2d(inside, channels, 3, padding=1)
        self.active: nn.Module = nn.ReLU() if activation == "relu" else nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """The pictures as they are remembered, in (0, 1), of the same shape."""
        layers, sides = iter(self.convolutions), []
        for step in self.structure:
            if step == "average":
                sides.append(x.shape[2:])
                x = F.avg_pool2d(x, 2, ceil_mode=True)
            else:
                x = self.active(next(layers)(x))
        for step in reversed(self.structure):
            x = F.interpolate(x, sides.pop()) if step == "average" else self.active(next(layers)(x))
        made: Tensor = self.last(x).sigmoid()
        return made

    def fit(
        self,
        x: Tensor,
        *,
        noise: float = 0.1,
        course: Course = USUAL,
        progress: Progress | None = None,
    ) -> Self:
        """Train from fresh weights by the mean square of ae(x + noise) - x.

        Args:
            x: ordinary pictures [n, channels, h, w] in [0, 1].
            noise: the standard deviation of Gaussian noise, cut off at 0 and 1.
            course: how long and how fast.
            progress: called after each pass with an `Epoch`.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where training diverges.
        """
        checks.not_negative(noise, "noise")

        def loss(clean: Tensor) -> Tensor:
            return F.mse_loss(self((clean + noise * torch.randn_like(clean)).clamp(0, 1)), clean)

        fresh(self, course.seed)
        train(self, loss, [x], course, progress)
        return self
