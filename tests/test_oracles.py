"""The oracles against each other: what judges the library must itself be right."""

import math

import numpy as np
import pytest
import torch

from struthio.testing.models import exact_distance, linear_model, small_inputs, smallest_change
from tests.oracles import nearest, nearest_by_solver, smallest_change_by_program


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("p", [1, 2])
def test_projection_oracles_agree(p, seed):
    rng = np.random.default_rng(seed)
    x = rng.choice([0, 0.1, 0.5, 1], 5)
    d = rng.normal(size=5) * rng.choice([0.0, 0.5, 1.0, 2.0], 5)
    eps = rng.choice([0.1, 0.5, 1.0])
    found = nearest(d, eps, -x, 1 - x, p)
    np.testing.assert_allclose(found, nearest_by_solver(d, eps, -x, 1 - x, p), atol=2e-5)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("p", [1, math.inf])
def test_linear_distance_is_that_of_a_linear_program(p, seed):
    rng = np.random.default_rng(seed)
    slope, down, up = rng.normal(size=6), rng.uniform(0, 0.3, 6), rng.uniform(0, 0.3, 6)
    most = np.where(slope > 0, slope * up, -slope * down).sum()
    for share in (0.1, 0.6, 0.99):
        room = torch.tensor(np.where(slope > 0, up, down))
        ours = smallest_change(torch.tensor(slope), share * most, room, p)
        assert ours == pytest.approx(smallest_change_by_program(slope, share * most, down, up, p), rel=1e-6)
    assert smallest_change(torch.tensor(slope), 1.01 * most, room, p) == math.inf


def test_linear_distance_without_limits_is_the_dual_norm():
    model, x = linear_model(12, seed=1), small_inputs(3, side=2, seed=1)
    labels = model(x).argmax(1)
    slope = (model.weight[0] - model.weight[1]).detach()
    gap = (model(x)[:, 0] - model(x)[:, 1]).abs().detach()
    for p, dual in ((1, math.inf), (2, 2), (math.inf, 1)):
        exact = gap / torch.linalg.vector_norm(slope, ord=dual)
        torch.testing.assert_close(exact_distance(model, x, labels, p, box=None), exact)


def test_euclidean_distance_with_limits_by_hand():
    # Score x1 + x2 must rise by 1; x1 has room 0.2, so x2 must take 0.8.
    distance = smallest_change(torch.tensor([1.0, 1.0], dtype=torch.float64), 1.0, torch.tensor([0.2, 1.0]).double(), 2)
    assert distance == pytest.approx(math.hypot(0.2, 0.8))
