"""The least value of a line over a ball within limits: exact, and reached inside."""

import pytest
import torch

import struthio as st
from struthio.certify.region import region_of


@pytest.mark.parametrize(
    "threat", [st.L2(0.6), st.L2(3.0), st.L1(0.9), st.L1(30.0), st.L2(0.3, None), st.L1(0.3, None)]
)
def test_the_least_over_a_ball_within_limits(threat):
    draw = torch.Generator().manual_seed(0)
    x, a = torch.rand(10, 12, generator=draw).round(decimals=1), torch.randn(10, 1, 12, generator=draw).double()
    a[:, :, 3] = 0
    region, rows = region_of(threat, x), torch.arange(10)
    least, points = region.least(a, rows)
    assert torch.allclose((a * points).sum((1, 2)), least, atol=1e-6)
    assert bool(((points >= region.low - 1e-9) & (points <= region.high + 1e-9)).all())
    assert bool(((points - region.x).flatten(1).norm(p=region.p, dim=1) <= region.eps + 1e-6).all())
    # A long way down the line, the nearest point inside is where the line is least.
    lowest = x + threat.project(x.double(), -1e5 * a[:, 0])
    assert torch.allclose((a[:, 0] * lowest).sum(1), least, atol=1e-3)
