"""The two networks of AdvGAN: one makes a change of a picture, the other tells changed pictures from real ones."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SMALLEST = 8  # pixels a side, so that the bottleneck has more than one place to normalise over


class PerturbationNet(nn.Module):
    """Three convolutions down to a quarter of each side, residual blocks, and two transposed ones back up.

    A picture whose sides are no multiples of four is padded by its edge, and what is made for the padding cut off.

    Args:
        channels: of the pictures.
        width: channels of the first convolution; the bottleneck has four times as many.
        blocks: how many residual blocks stand there.
    """

    def __init__(self, channels: int, width: int = 8, blocks: int = 4) -> None:
        super().__init__()
        self.channels, self.width, self.blocks = channels, width, blocks
        self.layers = nn.Sequential(
            *_normed(nn.Conv2d(channels, width, 3, padding=1, bias=False)),
            *_normed(nn.Conv2d(width, 2 * width, 3, 2, padding=1, bias=False)),
            *_normed(nn.Conv2d(2 * width, 4 * width, 3, 2, padding=1, bias=False)),
            *(Residual(4 * width) for _ in range(blocks)),
            *_normed(nn.ConvTranspose2d(4 * width, 2 * width, 4, 2, padding=1, bias=False)),
            *_normed(nn.ConvTranspose2d(2 * width, width, 4, 2, padding=1, bias=False)),
            nn.Conv2d(width, channels, 3, padding=1),
            nn.Tanh(),
        )

    def forward(self, x: Tensor) -> Tensor:
        """A change in [-1, 1] for each picture, [n, channels, h, w]."""
        h, w = x.shape[2:]
        down, right = (max(SMALLEST, side + -side % 4) - side for side in (h, w))
        made: Tensor = self.layers(F.pad(x, (0, right, 0, down), mode="replicate"))
        return made[:, :, :h, :w]


class Residual(nn.Module):
    """Two convolutions around which the input passes."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        twice = [nn.Conv2d(channels, channels, 3, padding=1, bias=False) for _ in range(2)]
        self.layers = nn.Sequential(*_normed(twice[0]), twice[1], nn.InstanceNorm2d(channels, affine=True))

    def forward(self, x: Tensor) -> Tensor:
        """The input and what two convolutions add to it."""
        added: Tensor = self.layers(x)
        return x + added


class Discriminator(nn.Module):
    """Three strided convolutions and their mean: one number a picture, near 1 where it looks real.

    Args:
        channels: of the pictures.
        width: channels of the first convolution.
    """

    def __init__(self, channels: int, width: int = 8) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 4, 2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(width, 2 * width, 4, 2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(2 * width, 4 * width, 4, 2, padding=2),
            nn.LeakyReLU(0.2),
            nn.Conv2d(4 * width, 1, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        """[n]."""
        looks: Tensor = self.layers(x)
        return looks.flatten(1).mean(1)


def _normed(layer: nn.Conv2d | nn.ConvTranspose2d) -> tuple[nn.Module, nn.Module, nn.Module]:
    return layer, nn.InstanceNorm2d(layer.out_channels, affine=True), nn.ReLU()
