"""The boundary attack on linear models, and the lengths of its steps."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks.queries.boundary import _proposals
from struthio.testing import LinearModel, exact_distance, linear_model, small_inputs


def setting(classes=2, seed=3, n=6, side=4):
    model, x = linear_model(3 * side**2, classes, seed=seed), small_inputs(n, side, seed=seed) * 0.4 + 0.3
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


def test_within_1_01_of_the_exact_distance():
    """After 1,500 questions, on a linear model of 12 values."""
    model, x, labels = setting(side=2)
    result = st.Boundary(queries=1500)(model, x, st.Untargeted(labels), st.L2())
    ratio = result.size / exact_distance(model, x, labels, 2)
    assert result.success.all()
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1.01).all()
    assert (result.forwards <= 1501).all()


def test_proposals_keep_the_distance_and_then_shorten_it():
    x, point = torch.rand(4, 3, 5, 5).double(), torch.rand(4, 3, 5, 5).double()
    noise = torch.randn(4, 3, 5, 5).double()
    state = {"spherical": torch.tensor([0.01, 0.1, 1.0, 3.0]).double(), "source": torch.tensor([0.0, 0.1, 0.5, 1.0])}
    around, nearer = _proposals(x, point, noise, state)
    length = [(other - x).flatten(1).norm(dim=1) for other in (point, around, nearer)]
    torch.testing.assert_close(length[1], length[0])
    torch.testing.assert_close(length[2], length[0] * (1 - state["source"]))
    angle = torch.cosine_similarity((point - x).flatten(1), (around - x).flatten(1)).acos()
    torch.testing.assert_close(angle, state["spherical"].atan())


def test_steps_adapt():
    attack, state = st.Boundary(), st.Boundary()._begin(torch.zeros(3, 2))
    for turn in range(30):
        won = torch.tensor([True, turn % 6 == 0, False])
        state = attack._adapt(state, "source", won, 30, (0.1, 0.25))
    torch.testing.assert_close(state["source"], torch.tensor([0.015, 0.01, 0.01 / 1.5]))
    torch.testing.assert_close(state["spherical"], torch.full((3,), 0.01))
    for _ in range(10):
        state = attack._adapt(state, "spherical", torch.tensor([True, False, False]), 10, (0.2, 0.5))
    torch.testing.assert_close(state["source"], torch.tensor([0.0225, 0.01 / 1.5, 0.01 / 2.25]))
    torch.testing.assert_close(state["spherical"], torch.tensor([0.015, 0.01 / 1.5, 0.01 / 1.5]))


def test_a_row_that_cannot_come_nearer_is_done():
    """Its step falls below `converged` and it asks no more."""
    corner = LinearModel(torch.tensor([[0.0, 0.0], [1.0, 1.0]]).double(), torch.tensor([1.999, 0.0]).double())
    x = torch.full((1, 2), 0.99).double()
    attack = st.Boundary(queries=5000, converged=1e-3, start=torch.ones(()))
    result = attack(corner, x, st.Untargeted(torch.tensor([0])), st.L2())
    assert result.success.all()
    assert result.forwards < 4000


@pytest.mark.parametrize("queries", [1, 2, 3, 7, 23])
def test_few_questions(queries):
    model, x, labels = setting()
    result = st.Boundary(queries=queries)(model, x, st.Untargeted(labels), st.L2())
    assert (result.forwards <= queries + 1).all()


def test_options_that_cannot_be_meant():
    for wrong in ({"queries": 0}, {"spherical": 0.0}, {"source": 2.0}, {"adaptation": 1.0}, {"every": 0}):
        with pytest.raises(st.UserError):
            st.Boundary(**wrong)
    model, x, labels = setting()
    with pytest.raises(st.UserError, match="l2"):
        st.Boundary()(model, x, st.Untargeted(labels), st.Linf(math.inf))
