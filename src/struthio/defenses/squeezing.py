"""Feature squeezing: fewer bits, then a median filter."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from struthio.defenses.base import Defense
from struthio.defenses.bit_depth import BitDepth
from struthio.defenses.median import MedianFilter


class FeatureSqueezing(Defense):
    """Leaves an adversary fewer pictures to choose from: bit depth reduced, then smoothed by a median.

    Xu, Evans, Qi, 2018, arXiv 1704.01155, whose best on MNIST are 1 bit and a window of 2 x 2. There the answers to
    squeezed pictures are compared with that to the picture itself, which is a detector; here the squeezed picture is
    what the model sees. He, Wei, Chen, Carlini, Song, 2017, arXiv 1706.04701, break both. The third
    squeezer of the paper is `NonLocalMeans`.

    Args:
        bits: of each value.
        size: the side of the median's window, in pixels.
    """

    paper: ClassVar[str] = "Xu, Evans, Qi, 2018, arXiv 1704.01155"

    def __init__(self, bits: int = 1, size: int = 2) -> None:
        super().__init__()
        self.bits, self.median = BitDepth(bits), MedianFilter(size)

    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, c, h, w] in [0, 1], squeezed."""
        squeezed: Tensor = self.median(self.bits(x))
        return squeezed

    def stand_in(self, x: Tensor) -> Tensor:
        """The median alone, whose gradient is exact; rounding counts as the identity."""
        smoothed: Tensor = self.median(x)
        return smoothed
