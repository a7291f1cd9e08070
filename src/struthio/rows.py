"""Per-row helpers: shapes, norms, and random numbers that belong to a row and not to its batch."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from struthio.checks import UserError

Rows = Tensor | slice


def per_row(value: float | Tensor, like: Tensor) -> Tensor:
    """Shape a number, or one number a row [n], so that it broadcasts over `like` [n, ...]."""
    value = torch.as_tensor(value, dtype=like.dtype, device=like.device)
    return value.reshape(-1, *[1] * (like.ndim - 1)) if value.ndim == 1 else value


def pick(value: Any, rows: Rows) -> Any:
    """Take rows of a per-row tensor; anything that is the same for all rows (a number, None) stays as it is."""
    return value[rows] if isinstance(value, Tensor) and value.ndim > 0 else value


def norm(d: Tensor, p: float) -> Tensor:
    """The p-norm of each row, [n]; p = 0 counts the entries that are not zero."""
    flat = d.flatten(1)
    if p == 0:
        return (flat != 0).sum(1).to(d.dtype)
    if p == math.inf:
        return flat.abs().amax(1)
    length: Tensor = torch.linalg.vector_norm(flat, ord=p, dim=1)
    return length


def where_rows(mask: Tensor, a: Tensor, b: Tensor) -> Tensor:
    """Rows of `a` where the mask [n] is set, rows of `b` elsewhere."""
    alike = a.shape == b.shape and a.dtype == b.dtype and mask.shape == a.shape[:1]
    if mask.is_cuda or not alike:
        return torch.where(mask.reshape(-1, *[1] * (a.ndim - 1)), a, b)
    rows = mask.nonzero().flatten()  # on a processor, choosing value by value takes several times as long
    return b.index_copy(0, rows, a[rows])


def finite(slope: Tensor) -> Tensor:
    """The slope [n, ...] without NaN and infinity, which would spoil the whole row: 0 instead of NaN, and instead of an
    infinite value (a square root's at 0) the mean size of the row's others, in the same direction.
    """
    if bool(slope.sum().isfinite()):  # the usual case, told by one number
        return slope
    known = slope.masked_fill(~slope.isfinite(), 0).flatten(1).abs()
    mean = known.sum(1) / (known > 0).sum(1).clamp(min=1)
    size = per_row(torch.where(mean > 0, mean, 1), slope)
    return torch.where(slope.isfinite(), slope, slope.nan_to_num(0.0).sign() * size)


_GOLDEN = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed 64-bit number
_MIX1 = -4658895280553007687  # 0xBF58476D1CE4E5B9
_MIX2 = -7723592293110705685  # 0x94D049BB133111EB


def _mix(z: Tensor) -> Tensor:
    """SplitMix64's finaliser (Steele, Lea, Flood, 2014), on signed 64-bit numbers that wrap."""
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def _shift(z: Tensor, bits: int) -> Tensor:
    return (z >> bits) & ((1 << (64 - bits)) - 1)


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


@dataclass
class RowGenerator:
    """Random numbers that depend on (seed, row id, draw) alone, whatever the batch, its order or the device.

    `generator[rows]` follows rows that stay, `generator.fold(tag)` starts an independent stream. Numbers come from a
    counter hashed by SplitMix64, so no state has to be kept for a row and no global random state is touched.

    Args:
        keys: one 64-bit key a row, int64 [n]. Make them with `RowGenerator.seeded`.
        draws: how many draws were made; rows that leave do not change the numbers of those that stay.
    """

    keys: Tensor
    draws: int = 0

    @classmethod
    def seeded(cls, seed: int, ids: Tensor) -> RowGenerator:
        """A generator for rows with these ids (int64 [n]), which name the rows in the whole data set."""
        start = _mix(torch.tensor(_signed(seed * 2 + 1), dtype=torch.int64, device=ids.device))
        return cls(_mix(start ^ _mix(ids.to(torch.int64) * _GOLDEN + 1)))

    def __len__(self) -> int:
        return len(self.keys)

    def __getitem__(self, rows: Rows) -> RowGenerator:
        return RowGenerator(self.keys[rows], self.draws)

    @property
    def seed(self) -> int:
        """A number that follows from the first row's, to seed the global generators with."""
        return int(self.keys[0]) & (2**62 - 1)

    def fold(self, tag: int) -> RowGenerator:
        """An independent stream for the same rows, named by a number."""
        return RowGenerator(_mix(self.keys + _signed((tag + 1) * 0x632BE59BD9B4E019)))

    def to(self, device: torch.device | str) -> RowGenerator:
        """The same generator on another device: the same numbers."""
        return RowGenerator(self.keys.to(device), self.draws)

    def _bits(self, count: int) -> Tensor:
        """One draw of `count` hashed 64-bit numbers a row, int64 [n, count]."""
        self.draws += 1
        stream = _mix(self.keys + _signed(self.draws * 0xD1342543DE82EF95))
        counters = torch.arange(1, count + 1, device=self.keys.device) * _GOLDEN
        return _mix(stream[:, None] + counters)

    def uniform(self, shape: tuple[int, ...] | torch.Size = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Uniform numbers in [0, 1), [n, *shape], with 24 bits each."""
        bits = _shift(self._bits(math.prod(shape)), 40)
        return (bits.to(dtype) * 2.0**-24).reshape(len(self), *shape)

    def ahead(self, draws: int, count: int) -> Tensor:
        """The uniform numbers of so many draws to come, float64 [n, draws, count], as `uniform` gives them one by one.

        For loops whose draws are too small to pay for a call each; one that needs fewer numbers takes the first ones.
        """
        turns = torch.arange(self.draws + 1, self.draws + draws + 1, device=self.keys.device)
        self.draws += draws
        streams = _mix(self.keys[:, None] + turns * _signed(0xD1342543DE82EF95))
        counters = torch.arange(1, count + 1, device=self.keys.device) * _GOLDEN
        return _shift(_mix(streams[:, :, None] + counters), 40).to(torch.float64) * 2.0**-24

    def normal(self, shape: tuple[int, ...] | torch.Size = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard normal numbers, [n, *shape] (Box and Muller, 1958)."""
        count = math.prod(shape)
        half = (count + 1) // 2
        bits = self._bits(half)
        first = (_shift(bits, 40).to(torch.float64) + 1) * 2.0**-24
        second = (bits & 0xFFFFFF).to(torch.float64) * 2.0**-24
        length, angle = (-2 * first.log()).sqrt(), 2 * math.pi * second
        both = torch.cat([length * angle.cos(), length * angle.sin()], 1)[:, :count]
        return both.to(dtype).reshape(len(self), *shape)

    def exponential(self, shape: tuple[int, ...] | torch.Size = (), dtype: torch.dtype = torch.float32) -> Tensor:
        """Standard exponential numbers, [n, *shape]."""
        return -torch.log1p(-self.uniform(shape, torch.float64)).to(dtype)

    def integers(self, high: int, shape: tuple[int, ...] | torch.Size = ()) -> Tensor:
        """Whole numbers in [0, high), int64 [n, *shape]."""
        return (self.uniform(shape, torch.float64) * high).long().clamp(max=high - 1)


def as_generator(generator: int | RowGenerator | torch.Generator, x: Tensor) -> RowGenerator:
    """A RowGenerator for the rows of x, from a seed (rows numbered from 0), from a torch generator, or as given."""
    if isinstance(generator, RowGenerator):
        if len(generator) != len(x):
            raise UserError(
                f"the generator has {len(generator)} rows, but x has {len(x)}; one each is needed. Take those of the "
                "same rows, generator[rows]."
            )
        return generator.to(x.device)
    if isinstance(generator, torch.Generator):
        generator = int(torch.randint(2**62, (), generator=generator, device=generator.device))
    try:
        seed = operator.index(generator)
    except TypeError:
        raise UserError(f"generator is {generator!r}; a seed is needed, a RowGenerator or a torch.Generator.") from None
    return RowGenerator.seeded(seed, torch.arange(len(x), device=x.device))


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, z: Tensor, value: Tensor) -> Tensor:
        return value

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0], None


def straight_through(z: Tensor, value: Tensor) -> Tensor:
    """`value` on the way forward; on the way back the gradient goes to `z` as if nothing had been done to it."""
    through: Tensor = _StraightThrough.apply(z, value)  # type: ignore[no-untyped-call]
    return through
