"""GeoDA on linear models, whose boundary is flat; the sub-space, the rounds and the way out along the normal."""

import itertools
import math

import pytest
import torch

import struthio as st
from struthio.testing import LinearModel, exact_distance, linear_model, small_inputs

BALLS = {2: st.L2, math.inf: st.Linf}


def setting(classes=2, seed=3, n=6):
    model, x = linear_model(48, classes, seed=seed), small_inputs(n, 4, seed=seed) * 0.4 + 0.3
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


@pytest.mark.parametrize("p", BALLS)
@pytest.mark.parametrize("seed", [3, 4])
def test_within_1_10_of_the_exact_distance(p, seed):
    """After 5,000 questions, with probes of all frequencies, since the model's weights are noise."""
    model, x, labels = setting(seed=seed)
    result = st.GeoDA(queries=5000, rounds=10, band=1.0)(model, x, st.Untargeted(labels), BALLS[p]())
    ratio = result.size / exact_distance(model, x, labels, p)
    assert result.success.all()
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1.10).all()
    assert ((result.forwards > 4950) & (result.forwards <= 5001)).all()


@pytest.mark.parametrize("p", BALLS)
def test_limits_that_bind(p):
    """The way along the normal is bent by the limits as the nearest point is."""
    model, x = linear_model(48, seed=0), small_inputs(6, 4, seed=0)
    with torch.no_grad():
        model.bias += torch.tensor([-4, 4]) - model(x).mean(0)
        labels = model(x).argmax(1)
    result = st.GeoDA(queries=5000, rounds=10, band=1.0)(model, x, st.Untargeted(labels), BALLS[p]())
    assert (result.size / exact_distance(model, x, labels, p)).max() <= 1.10


@pytest.mark.parametrize("box", [None, st.Box(-3.0, 5.0)])
def test_other_limits(box):
    model, x, labels = setting()
    exact = exact_distance(model, x, labels, 2, box)
    result = st.GeoDA(queries=3000, rounds=6, band=1.0)(model, x, st.Untargeted(labels), st.L2(box=box))
    assert (result.size / exact).max() <= 1.15


def test_few_frequencies_are_found_sooner_where_the_slope_has_no_others():
    x = torch.full((4, 1, 16, 16), 0.5).double() + 0.1 * small_inputs(4, 16, 1)
    wave = torch.cos(math.pi / 16 * (torch.arange(16).double() + 0.5))
    slope = (wave[:, None] * wave).reshape(1, -1)
    model = LinearModel(torch.cat([-slope, slope]), torch.tensor([10.0, 0.0]).double())
    goal = st.Untargeted(torch.zeros(4).long())
    exact = exact_distance(model, x, goal.labels, 2)
    low, full = (st.GeoDA(queries=600, rounds=3, band=band)(model, x, goal, st.L2()).size for band in (0.25, 1.0))
    assert (low / exact <= 1.05).all()
    assert (full / exact >= 1.15).all()


def test_rounds_grow_by_the_papers_factor():
    plan = st.GeoDA(queries=10_000, rounds=5, convergence=0.6)._plan(0)
    assert sum(plan) == pytest.approx(10_000, abs=5)
    for earlier, later in itertools.pairwise(plan):
        assert later / earlier == pytest.approx(0.6 ** (-2 / 3), rel=1e-2)
    assert len(set(st.GeoDA(queries=10_000, rounds=5, convergence=1.0)._plan(0))) == 1


def test_a_target_needs_a_start():
    model = LinearModel(torch.eye(3).double() * 5, torch.tensor([4.5, 0, 0]).double())
    x, start = torch.full((2, 3), 0.5).double(), torch.eye(3)[1:].double()
    goal = st.Targeted(torch.tensor([1, 2]), torch.tensor([0, 0]))
    won = st.GeoDA(queries=500, rounds=3, start=start)(model, x, goal, st.L2())
    assert won.success.all()
    assert (won.size < (start - x).norm(dim=1)).all()


@pytest.mark.parametrize("queries", [1, 2, 3, 5, 13, 31, 60])
def test_few_questions(queries):
    model, x, labels = setting()
    result = st.GeoDA(queries=queries)(model, x, st.Untargeted(labels), st.L2())
    assert (result.forwards <= queries + 1).all()


def test_options_that_cannot_be_meant():
    for wrong in ({"queries": 0}, {"rounds": 0}, {"convergence": 0.0}, {"sigma": 0.0}, {"band": 0.0}):
        with pytest.raises(st.UserError):
            st.GeoDA(**wrong)
