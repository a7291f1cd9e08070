"""A denoising autoencoder before a network: pictures are cleaned before they are judged."""

from __future__ import annotations

from typing import ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.base import Defense
from struthio.defenses.training import USUAL, Course, Progress, fresh, same_shape, train


class DenoisingAutoencoder(Defense):
    """x becomes g(x), trained by |g(x_adv) - x|^2 + |g(x + noise) - x|^2, mean squares.

    Vincent, Larochelle, Bengio and Manzagol, 2008; Gu and Rigazio, 2014, arXiv 1412.5068. Both trained dense networks
    on digits; this one is convolutional, with a bottleneck of a quarter of each side, and made for any picture. It has
    a gradient, so an attack through it needs nothing but to know that it is there.

        defence = DenoisingAutoencoder().fit(x, attack(net, x, Untargeted(y), Linf(0.25)).x_adv)
        model = nn.Sequential(defence, net)

    Args:
        channels: of the pictures [n, channels, h, w] in [0, 1].
        width: channels of the first convolution; the bottleneck has twice as many.
    """

    paper: ClassVar[str] = "Gu and Rigazio, 2014, arXiv 1412.5068"

    def __init__(self, channels: int = 1, width: int = 16) -> None:
        super().__init__()
        checks.count(channels, "channels")
        checks.count(width, "width")
        self.channels, self.width = channels, width
        self.net = nn.Sequential(
            *_normed(nn.Conv2d(channels, width, 4, 2, padding=1, bias=False)),
            *_normed(nn.Conv2d(width, 2 * width, 4, 2, padding=1, bias=False)),
            *_normed(nn.Conv2d(2 * width, 2 * width, 3, padding=1, bias=False)),
            *_normed(nn.ConvTranspose2d(2 * width, width, 4, 2, padding=1, bias=False)),
            nn.ConvTranspose2d(width, channels, 4, 2, padding=1),
            nn.Sigmoid(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """The pictures as they are remembered, in (0, 1), of the same shape."""
        h, w = x.shape[2:]
        # Sides that are no multiples of four are padded by their edge, and what is made of that is cut off.
        made: Tensor = self.net(F.pad(x, (0, -w % 4, 0, -h % 4), mode="replicate"))
        return made[:, :, :h, :w]

    def fit(
        self,
        x: Tensor,
        x_adv: Tensor | None = None,
        *,
        noise: float = 0.1,
        course: Course = USUAL,
        progress: Progress | None = None,
    ) -> Self:
        """Train from fresh weights.

        Args:
            x: clean pictures [n, channels, h, w] in [0, 1].
            x_adv: what an attack made of them, row for row; None trains on noise alone.
            noise: the standard deviation of Gaussian noise on the clean ones.
            course: how long and how fast.
            progress: called after each pass with an `Epoch`.

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where the rows do not fit each other, or training diverges.
        """
        checks.not_negative(noise, "noise")

        def loss(clean: Tensor, *changed: Tensor) -> Tensor:
            noisy = (clean + noise * torch.randn_like(clean)).clamp(0, 1)
            return torch.stack([F.mse_loss(self(each), clean) for each in (noisy, *changed)]).sum()

        rows = [x]
        if x_adv is not None:
            same_shape(x, x_adv)
            rows.append(x_adv)
        fresh(self, course.seed)
        train(self, loss, rows, course, progress)
        return self


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Without batch-norm, training stops at black pictures, from which a sigmoid has no slope back."""
    return layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()
