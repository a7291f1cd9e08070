"""The step along a boundary: as small as a general solver finds it, on the plane, in the ball, between the limits."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, minimize

from struthio.attacks.minimal.boundary_ball import Ball, Line
from struthio.attacks.minimal.boundary_step import boundary_step
from struthio.rows import norm

N, D = 6, 5


def problems(seed, n=N, d=D):
    """Random z and limits; the plane at a distance of a third to 1.2 of the ball's radius."""
    lot = torch.Generator().manual_seed(seed)
    x = torch.rand(n, d, generator=lot).double()
    z = torch.rand(n, d, generator=lot).double() - x
    slope = torch.randn(n, d, generator=lot).double()
    radius = 0.1 + 0.5 * torch.rand(n, generator=lot).double()
    need = radius * (torch.rand(n, generator=lot).double() - 0.5) * norm(slope, 2)
    return z, slope, need, radius, (-x, 1 - x)


def scipy_size(z, slope, need, radius, low, high, p):
    """The smallest p-norm by SLSQP; in L1 and Linf of y = up - down, or of a height above all |y|."""
    d = len(z)
    extra = {1: d, 2: 0, math.inf: 1}[p]
    size = (lambda v: v[:d] @ v[:d]) if p == 2 else lambda v: v[d:].sum()
    rules = [
        {"type": "eq", "fun": lambda v: slope @ (v[:d] - z) - need},
        {"type": "ineq", "fun": lambda v: radius**2 - (v[:d] - z) @ (v[:d] - z)},
    ]
    if p != 2:
        rules.append({"type": "ineq", "fun": lambda v: np.concatenate([v[d:] - v[:d], v[d:] + v[:d]])})
    best = math.inf
    for start in (z, 0.5 * z):
        given = np.concatenate([start, np.full(extra, np.abs(start).max() + 0.1)])
        bounds = [*zip(low, high, strict=True), *[(0, None)] * extra]
        found = minimize(size, given, bounds=bounds, constraints=rules, options={"maxiter": 500, "ftol": 1e-12})
        if found.success:
            best = min(best, math.sqrt(found.fun) if p == 2 else found.fun)
    return best


def kept(y, z, slope, need, radius, room):
    """The plane, the ball and the limits, each within rounding or its tolerance, bool [n]."""
    on_plane = ((slope * (y - z)).sum(1) - need).abs() < 1e-6
    in_ball = norm(y - z, 2) <= radius * (1 + 2e-3)
    between = ((y >= room[0] - 1e-9) & (y <= room[1] + 1e-9)).all(1)
    return on_plane & in_ball & between


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_as_small_as_a_general_solver_finds_it(p):
    compared = 0
    for seed in range(4):
        z, slope, need, radius, room = problems(seed)
        y = boundary_step(z, slope, need, radius, room, p)
        fits = kept(y, z, slope, need, radius, room)
        for row in range(N):
            given = [part[row].numpy() for part in (z, slope, need, radius, *room)]
            best = scipy_size(*given, p)
            if math.isfinite(best):
                assert fits[row], "it was found that there is a solution"
                assert float(norm(y[row : row + 1], p)) == pytest.approx(best, rel=5e-3, abs=1e-4)
                compared += 1
    assert compared >= 15


@pytest.mark.parametrize("p", [1, math.inf])
def test_in_a_wide_ball_it_is_a_linear_program(p):
    """Without the ball: min sum or maximum of |y| on the plane between the limits."""
    z, slope, need, _, (low, high) = problems(9, d=12)
    y = boundary_step(z, slope, need, torch.full((N,), 1e3).double(), (low, high), p)
    for row in range(N):
        b, extra = slope[row].numpy(), 12 if p == 1 else 1
        goal = float((slope[row] * z[row]).sum() + need[row])
        tops = -np.eye(12) if p == 1 else -np.ones((12, 1))
        above = np.block([[np.eye(12), tops], [-np.eye(12), tops]])
        bounds = [*zip(low[row].tolist(), high[row].tolist(), strict=True), *[(0, None)] * extra]
        cost, plane = np.r_[np.zeros(12), np.ones(extra)], np.r_[b, np.zeros(extra)][None]
        found = linprog(cost, above, np.zeros(24), plane, [goal], bounds)
        assert float(norm(y[row : row + 1], p)) == pytest.approx(found.fun, rel=1e-6)


@pytest.mark.parametrize("p", [0, 1, 2, math.inf])
def test_a_plane_out_of_reach_is_approached(p):
    z, slope, _, radius, room = problems(5)
    need = 1e3 * norm(slope, 2)
    y = boundary_step(z, slope, need, radius, room, p)
    assert ((slope * (y - z)).sum(1) > 0).all()
    assert (norm(y - z, 2) <= radius * (1 + 1e-9)).all()


def test_few_values_are_as_few_as_all_subsets_allow():
    """On five values every subset is tried: the shortest way onto the plane. One value more is let pass, not often."""
    more, compared = 0, 0
    for seed in range(4):
        z, slope, need, radius, room = problems(seed)
        y = boundary_step(z, slope, need, radius, room, 0)
        fits = kept(y, z, slope, need, radius, room)
        for row in range(N):
            fewest = fewest_of_all(*(part[row] for part in (z, slope, need, radius, *room)))
            if fewest is not None:
                assert fits[row]
                extra = int((y[row] != 0).sum()) - fewest
                assert extra in (0, 1)
                more, compared = more + extra, compared + 1
    assert compared >= 15
    assert more <= compared / 4


def fewest_of_all(z, slope, need, radius, low, high):
    """The fewest values not zero with which the plane is met in the ball; None where all are too few."""
    on = torch.tensor([[subset >> place & 1 for place in range(D)] for subset in range(2**D)])
    goal = slope @ z + need
    least, most = torch.full((2**D, 1), -50.0).double(), torch.full((2**D, 1), 50.0).double()
    for _ in range(60):
        middle = (least + most) / 2
        y = (z + middle * slope).clamp(low, high) * on
        short = (y @ slope)[:, None] < goal
        least, most = torch.where(short, middle, least), torch.where(short, most, middle)
    fits = ((y @ slope - goal).abs() < 1e-6) & (norm(y - z, 2) <= radius)
    return int(on.sum(1)[fits].min()) if fits.any() else None


@pytest.mark.parametrize(("p", "most"), [(1, 40), (2, 15), (math.inf, 40)])
def test_few_points_are_looked_at(p, most, monkeypatch):
    """Where the same values move, weight and multiple are found at once: bracketing them one by one takes hundreds."""
    looks, y = [], Line.y
    monkeypatch.setattr(Line, "y", lambda line, multiple: looks.append(multiple) or y(line, multiple))
    boundary_step(*problems(7, n=8, d=300), p)
    assert 0 < len(looks) <= most


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_a_root_by_sorting_lies_on_the_plane(p):
    z, b, need, radius, (low, high) = problems(2, d=40)
    column = torch.ones(N, 1).double()
    goal = (b * z).sum(1, keepdim=True) + need[:, None]
    ball = Ball(p, z, b, b.square(), goal, radius[:, None], low, high, 0.1 * column, 0.5 * column)
    line = ball.at(0.7 * column)
    least, most = -3 * column, 3 * column
    below, above = ((b * line.y(end)[0]).sum(1, keepdim=True) for end in (least, most))
    middle = below + 0.4 * (above - below)
    root = line._root(least, most, middle - below)
    torch.testing.assert_close((b * line.y(root)[0]).sum(1, keepdim=True), middle)


@pytest.mark.parametrize("p", [0, 1, 2, math.inf])
def test_every_row_alone(p):
    z, slope, need, radius, room = problems(11, n=8, d=50)
    whole = boundary_step(z, slope, need, radius, room, p)
    for row in range(8):
        one = slice(row, row + 1)
        alone = boundary_step(z[one], slope[one], need[one], radius[one], (room[0][one], room[1][one]), p)
        torch.testing.assert_close(alone, whole[one])
