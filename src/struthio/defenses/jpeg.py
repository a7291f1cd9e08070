"""JPEG compression."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.defenses.smooth_jpeg import smooth_jpeg


class Jpeg(Defense):
    """Saves each picture as JPEG and reads it again, by Pillow.

    Dziugaite, Ghahramani, Roy, 2016, arXiv 1608.00853; Guo, Rana, Cisse, van der Maaten, 2018, arXiv 1711.00117, at
    quality 75. It leaves torch and has no gradient. The same computation in torch stands in for it, with its rounding
    smoothed (`smooth_jpeg`).

    Args:
        quality: 1 to 95, as Pillow's.
        subsampled: whether the colours have half the resolution, as is usual.
    """

    paper: ClassVar[str] = "Dziugaite, Ghahramani, Roy, 2016, arXiv 1608.00853"

    def __init__(self, quality: int = 75, subsampled: bool = True) -> None:
        super().__init__()
        if isinstance(quality, bool) or not isinstance(quality, int) or not 1 <= quality <= 95:
            raise UserError(f"quality is {quality!r}; a whole number from 1 to 95 is needed.")
        self.quality, self.subsampled = quality, subsampled

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Pictures [n, 1 or 3, h, w] in [0, 1], as they come out of their files."""
        if x.ndim != 4 or x.shape[1] not in (1, 3):
            raise UserError(f"JPEG needs pictures [n, 1 or 3, h, w]; x has shape {tuple(x.shape)}.")
        levels = (x.detach().clamp(0, 1) * 255).round().byte().movedim(1, 3).cpu().numpy()
        saved = np.stack([self._saved(picture) for picture in levels])
        return torch.from_numpy(saved).movedim(3, 1).to(x) / 255

    def stand_in(self, x: Tensor) -> Tensor:
        """The same, differentiably."""
        return smooth_jpeg(x, self.quality, self.subsampled)

    def _saved(self, picture: np.ndarray) -> np.ndarray:
        file = io.BytesIO()
        image = Image.fromarray(picture.squeeze(2) if picture.shape[2] == 1 else picture)
        image.save(file, "JPEG", quality=self.quality, subsampling="4:2:0" if self.subsampled else "4:4:4")
        return np.array(Image.open(file)).reshape(picture.shape)

    def extra_repr(self) -> str:
        """The options, for printing."""
        return f"quality={self.quality}, subsampled={self.subsampled}"
