"""Rows in an order of their own in every epoch, and pictures moved and mirrored: all from (seed, epoch, row)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from struthio.checks import UserError
from struthio.rows import RowGenerator, where_rows

BEGIN, ORDER, AUGMENT, LOSS, AFTER, STATISTICS = range(6)  # independent streams of one seed


def numbers(seed: int, ids: Tensor, stream: int, time: int) -> RowGenerator:
    """The random numbers of rows for one purpose at one time (an epoch, a step)."""
    return RowGenerator.seeded(seed, ids).fold(stream).fold(time)


def in_batches(ids: Tensor, size: int, seed: int, epoch: int) -> list[Tensor]:
    """The rows of an epoch, mixed, in batches of nearly equal size of which none is larger than `size`."""
    mixed = ids[numbers(seed, ids, ORDER, epoch).uniform().argsort(stable=True)]
    return list(mixed.tensor_split(-(-len(ids) // size)))


def held_back(ids: Tensor, rows: int, seed: int) -> tuple[Tensor, Tensor]:
    """The rows to train on, and `rows` others that are kept out of training; at most a fifth of all."""
    mixed = ids[numbers(seed, ids, ORDER, -1).uniform().argsort(stable=True)]
    count = min(rows, len(ids) // 5)
    return mixed[count:].sort().values, mixed[:count].sort().values


def augmented(x: Tensor, generator: RowGenerator, shift: int = 0, flip: bool = False) -> Tensor:
    """Pictures [n, c, h, w], each moved by up to `shift` pixels each way and mirrored or not.

    Raises UserError where the rows are no pictures.
    """
    if not (shift or flip):
        return x
    if x.ndim != 4:
        raise UserError(f"rows of shape {tuple(x.shape[1:])} are no pictures [c, h, w]; leave out shift and flip.")
    if flip:
        x = where_rows(generator.uniform() < 0.5, x.flip(-1), x)
    return moved(x, generator.integers(2 * shift + 1, (2,)), shift) if shift else x


def moved(x: Tensor, by: Tensor, most: int) -> Tensor:
    """Windows of the pictures padded by `most` zeros, with these corners (down, right) int64 [n, 2]."""
    height, width = x.shape[-2:]
    wide = F.pad(x, (most,) * 4)
    rows = torch.arange(len(x), device=x.device).reshape(-1, 1, 1)
    lines = torch.arange(height, device=x.device).reshape(1, -1, 1) + by[:, 0].reshape(-1, 1, 1)
    columns = torch.arange(width, device=x.device).reshape(1, 1, -1) + by[:, 1].reshape(-1, 1, 1)
    return wide[rows, :, lines, columns].permute(0, 3, 1, 2).contiguous()
