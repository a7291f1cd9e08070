"""Random search: points of the threat, then steps, in any threat."""

import pytest
import torch

import struthio as st
from struthio.attacks.queries.random_search import RandomSearch
from struthio.testing import exact_distance, linear_model, small_inputs


def near(d=12, n=6):
    model, x = linear_model(d, seed=1), small_inputs(n, 2, seed=1) * 0.2 + 0.4
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("kind", [st.Linf, st.L2])
def test_linear(kind):
    """It gets within a fifth of the exact distance where there are few values."""
    model, x, labels = near()
    distance = exact_distance(model, x, labels, kind.p, box=None)
    for share, wins, queries in ((0.98, False, 500), (1.2, True, 2000)):
        result = RandomSearch(queries)(model, x, st.Untargeted(labels), kind(share * distance, box=None))
        assert bool(result.success.all()) == wins
        assert wins or not result.success.any()


def test_steps_help():
    """With the same questions, steps from the best come higher than fresh points alone."""
    model, x, labels = near()
    threat = st.Linf(0.01)
    score = {
        fresh: RandomSearch(500, fresh=fresh)(model, x, st.Untargeted(labels), threat).score for fresh in (0.1, 1.0)
    }
    assert (score[0.1] > score[1.0]).all()


def test_fresh_points_are_the_threats_own():
    """Also where the threat counts pixels, masks them and rounds them."""
    model, x, labels = near()
    model = torch.nn.Sequential(model)
    mask = torch.zeros(3, 2, 2, dtype=torch.bool)
    mask[:, 0] = True
    threat = st.Masked(st.L0(1, unit="pixel"), mask)
    result = RandomSearch(queries=30, fresh=1.0)(model, x, st.Untargeted(labels), threat)
    assert (result.size <= 1).all()
    assert (result.size == 1).any()
