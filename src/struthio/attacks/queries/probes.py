"""Random directions to probe a boundary with: over all values, or made of low frequencies alone."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from struthio.attacks.queries.simba import cosines
from struthio.attacks.queries.windows import as_pictures
from struthio.rows import RowGenerator


def probes(
    generator: RowGenerator, free: Tensor, like: Tensor, band: float = 1.0, flat: bool = False
) -> Callable[[int], Tensor]:
    """A function that draws k directions of Euclidean length 1 for each row, [k, n, ...].

    Args:
        generator: of these rows.
        free: which values may change, bool [n, ...]; the others stay zero.
        like: gives the dtype.
        band: the share of the frequencies along each side, lowest first.
        flat: draw from a cube, as is usual for Linf, and not from a sphere.
    """
    c, h, w = as_pictures(free).shape[1:]
    down, across = math.ceil(band * h), math.ceil(band * w)
    waves = (cosines(h, like)[:down], cosines(w, like)[:across]) if band < 1 else None

    def draw(k: int) -> Tensor:
        shape = (k, c, down, across)
        noise = 2 * generator.uniform(shape, like.dtype) - 1 if flat else generator.normal(shape, like.dtype)
        if waves:
            noise = waves[0].T @ noise @ waves[1]
        ways = noise.transpose(0, 1).reshape(k, *free.shape) * free
        length = torch.linalg.vector_norm(ways.flatten(2), dim=2).clamp(min=torch.finfo(like.dtype).tiny)
        unit: Tensor = ways / length.reshape(k, len(free), *[1] * (free.ndim - 1))
        return unit

    return draw
