"""Projections onto ball and limits at once: nearest of all, by a slow exact solver and by trying other points."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

from struthio.rows import norm
from struthio.threats import L0, L1, L2, Linf
from struthio.threats.projections import clip, project_l0, project_l1, project_l2, project_linf
from tests.oracles import nearest

PROJECT = {
    math.inf: project_linf,
    2: project_l2,
    1: project_l1,
    0: lambda d, eps, room: project_l0(d, eps.ceil(), room, False),
}
value = some.sampled_from([0.0, 1e-9, 0.2, 0.5, 0.5, 1.0, 3.0]) | some.floats(0, 2)


@some.composite
def cases(draw, dtype=torch.float64, scales=(1.0, 1.0, 1e-6, 1e8)):
    """d [n, k], a radius a row (a few of them 0), and the room that x between 0 and 1 leaves, or none."""
    n, k = draw(some.integers(1, 3)), draw(some.integers(1, 6))

    def table(values):
        return torch.tensor(draw(some.lists(some.lists(values, min_size=k, max_size=k), min_size=n, max_size=n)))

    sign = table(some.sampled_from([-1.0, 1.0]))
    x = table(some.sampled_from([0.0, 1.0, 0.3]) | some.floats(0, 1))
    scale = draw(some.sampled_from(scales))
    d = table(value) * sign * scale
    eps = torch.tensor(draw(some.lists(some.sampled_from([0.0, 0.25, 1.0, 2.0, 50.0]), min_size=n, max_size=n)))
    room = None if draw(some.booleans()) else (-x.to(dtype), 1 - x.to(dtype))
    return d.to(dtype), eps.to(dtype), room


def per_row(eps, d):
    return eps.reshape(-1, *[1] * (d.ndim - 1))


@pytest.mark.parametrize("p", PROJECT)
@given(case=cases())
def test_nearest_of_all(p, case):
    d, eps, room = case
    eps = eps.ceil() if p == 0 else eps
    found = PROJECT[p](d, per_row(eps, d), room)
    low, high = room or (torch.full_like(d, -math.inf), torch.full_like(d, math.inf))
    for row in range(len(d)):
        exact = nearest(*(part[row].numpy() for part in (d, eps, low, high)), p)
        if p == 0:  # ties: another choice of entries may be as near
            wanted, kept = d[row].numpy(), found[row].numpy()
            gain, best = ((z * (2 * wanted - z)).sum() for z in (kept, exact))
            assert gain == pytest.approx(best, rel=1e-9)
        else:
            rounding = 1e-15 * float(d[row].abs().max())
            np.testing.assert_allclose(found[row], exact, atol=1e-9 * max(1, float(eps[row])) + rounding, rtol=1e-7)


@pytest.mark.parametrize("p", PROJECT)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@given(data=some.data())
def test_inside_and_settled(p, dtype, data):
    d, eps, room = data.draw(cases(dtype, scales=(1.0, 1e-6, 1e8, 1e30)))
    eps = eps.ceil() if p == 0 else eps
    found = PROJECT[p](d, per_row(eps, d), room)
    assert found.dtype == dtype
    assert found.isfinite().all()
    assert (norm(found, p) <= eps * (1 + 1e-6) + 1e-9).all()
    assert torch.equal(found, clip(found, room))
    again = PROJECT[p](found, per_row(eps, d), room)
    torch.testing.assert_close(again, found, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("p", PROJECT)
def test_no_random_allowed_point_is_nearer(p):
    generator = torch.Generator().manual_seed(3)
    x = torch.rand(4, 3, 5, 5, generator=generator, dtype=torch.float64).round(decimals=1)
    d = torch.randn(4, 3, 5, 5, generator=generator, dtype=torch.float64)
    ball = {math.inf: Linf(0.1), 2: L2(1.0), 1: L1(3.0), 0: L0(7.0)}[p]
    found = ball.project(x, d)
    for scale in (0.01, 0.1, 1.0):
        for _ in range(20):
            noise = torch.randn(d.shape, generator=generator, dtype=torch.float64)
            other = ball.project(x, found + scale * noise)
            assert (norm(found - d, 2) <= norm(other - d, 2) + 1e-9).all()


@pytest.mark.parametrize("p", PROJECT)
def test_float32_huge_changes(p):
    """Entries far beyond the limits are still told apart."""
    d = torch.tensor([[1e8, 3e8, -2e8, 0.0]])
    found = PROJECT[p](d, torch.tensor([[2.0]]), (-torch.ones(1, 4), torch.tensor([[0.5, 0.25, 1.0, 1.0]])))
    # L0 keeps the two entries of the greatest gain, room times |d|: .5, .75 and 2 times 1e8.
    expected = [0.0, 0.25, -1.0, 0.0] if p == 0 else [0.5, 0.25, -1.0, 0.0]
    torch.testing.assert_close(found, torch.tensor([expected]))


def test_zeros_use_up_no_room():
    """A value that does not move takes nothing of the radius, however much room it has."""
    d = torch.tensor([[1.0, 0.0]])
    for project in (project_l2, project_l1):
        found = project(d, torch.tensor([[0.5]]), (-torch.ones(1, 2), torch.ones(1, 2)))
        torch.testing.assert_close(found, torch.tensor([[0.5, 0.0]]))


def test_exact_where_clipping_afterwards_is_not():
    """(2, 2) with room 0.6 for the second value: the ball alone gives (.71, .6), the nearest point is (.8, .6)."""
    room = (-torch.ones(1, 2), torch.tensor([[1.0, 0.6]]))
    torch.testing.assert_close(project_l2(torch.tensor([[2.0, 2.0]]), 1.0, room), torch.tensor([[0.8, 0.6]]))
    room = (-torch.ones(1, 2), torch.tensor([[1.0, 0.2]]))
    torch.testing.assert_close(project_l1(torch.tensor([[2.0, 2.0]]), 1.0, room), torch.tensor([[0.8, 0.2]]))


def test_pixels_keep_all_channels_together():
    d = torch.zeros(1, 2, 1, 3)
    d[0, :, 0, 0] = torch.tensor([0.5, 0.5])  # gain .5
    d[0, :, 0, 1] = torch.tensor([0.6, 0.0])  # gain .36
    kept = project_l0(d, 1, None, pixels=True)
    torch.testing.assert_close(kept, d * torch.tensor([1.0, 0.0, 0.0]))
    kept = project_l0(d, 1, None, pixels=False)
    assert int((kept != 0).sum()) == 1
    assert float(kept.max()) == pytest.approx(0.6)


@pytest.mark.parametrize("p", [math.inf, 2, 1])
def test_a_whole_number_is_a_radius(p):
    d, project = torch.tensor([[3.0, -0.5]]), {math.inf: project_linf, 2: project_l2, 1: project_l1}[p]
    assert torch.equal(project(d, 1, None), project(d, 1.0, None))
