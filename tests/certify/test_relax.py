"""Each operation lies between its lines, everywhere on its interval."""

import math

import pytest
import torch

from struthio.certify import smooth
from struthio.certify.relax import Clamp, Greatest, Leaky, Product

OPERATIONS = {
    "relu": Clamp(0.0, math.inf), "relu6": Clamp(0.0, 6.0), "hardtanh": Clamp(-1.0, 1.0), "narrow": Clamp(0.3, 0.8),
    "from above": Clamp(-math.inf, 0.5), "leaky": Leaky(0.2), "identity": Leaky(1.0), "sigmoid": smooth.SIGMOID,
    "tanh": smooth.TANH, "silu": smooth.SILU, "mish": smooth.MISH, "hardswish": smooth.HARDSWISH,
    "hardsigmoid": smooth.HARDSIGMOID, "gelu": smooth.gelu(), "gelu by tanh": smooth.gelu("tanh"), "elu": smooth.elu(),
    "elu low": smooth.elu(0.5), "selu": smooth.elu(1.7, 1.05), "elu upward": smooth.elu(-0.4),
    "softplus": smooth.softplus(2.0), "softplus, early": smooth.softplus(1.0, 0.5),
    "softplus, turned": smooth.softplus(-2.0), "softplus, far too early": smooth.softplus(0.7, -1.0),
    "celu": smooth.elu(2.0, 1.0, 0.5),
}  # fmt: skip


def intervals(count):
    draw = torch.Generator().manual_seed(0)
    middle = 6 * torch.randn(count, 1, 1, generator=draw, dtype=torch.float64)
    half = 4 * torch.rand(count, 1, 1, generator=draw, dtype=torch.float64)
    half[: count // 4] *= 1e-3
    half[count // 4 : count // 3] = 0
    half[count // 3 : count // 2] *= 100
    return middle - half, middle + half


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_lines_enclose(operation):
    low, high = intervals(600)
    lines, rows = operation.enclose(low, high), torch.arange(600)
    turns = [None] + [lambda own, share=share: torch.full_like(own.below, own.least + share * (1 - own.least))
                      for share in (0.0, 0.4, 1.0) if lines.free is not None]  # fmt: skip
    edges = operation.interval(low, high)
    for share in torch.linspace(0, 1, 25, dtype=torch.float64):
        x = low + share * (high - low)
        value = operation(x)
        assert bool((value >= edges[0] - 1e-12).all())
        assert bool((value <= edges[1] + 1e-12).all())
        for sign in (1.0, -1.0):
            for turn in turns:
                (a,), constant = lines.back(torch.full_like(low, sign), rows, turn)
                bound = (a * x).flatten(1).sum(1) + constant
                assert bool((bound <= sign * value.flatten() + 1e-9).all()), (share, sign)


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
def test_lines_touch_where_nothing_is_uncertain(operation):
    low, high = intervals(600)
    sure = ~operation.uncertain(low, high).flatten()
    lines, rows = operation.enclose(low, high), torch.arange(600)
    for sign in (1.0, -1.0):
        (a,), constant = lines.back(torch.full_like(low, sign), rows)
        for x in (low, high):
            gap = sign * operation(x).flatten() - (a * x).flatten(1).sum(1) - constant
            assert float(gap[sure].abs().max()) < 1e-9


@pytest.mark.parametrize(("operation", "size"), [(Greatest(-1), 3), (Greatest(-2, True), 3), (Product(), 2)], ids=str)
def test_several_values_in_one_lie_between_their_lines(operation, size):
    draw = torch.Generator().manual_seed(1)
    low = torch.randn(500, 1, 4, size, generator=draw, dtype=torch.float64)
    high = low + 2 * torch.rand(low.shape, generator=draw, dtype=torch.float64) ** 3
    lines, rows = operation.enclose(low, high), torch.arange(500)
    a = torch.randn(operation(low).shape, generator=draw, dtype=torch.float64)
    (back,), constant = lines.back(a, rows)
    for _ in range(30):
        x = low + (high - low) * torch.rand(low.shape, generator=draw, dtype=torch.float64).round(decimals=1)
        exact = (a * operation(x)).flatten(1).sum(1)
        assert bool(((back * x).flatten(1).sum(1) + constant <= exact + 1e-9).all())
