"""RayS on linear models, whose nearest point in Linf lies along a vector of signs; and its walk through the blocks."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks.queries.rays import _next_block, _turned
from struthio.testing import LinearModel, exact_distance, linear_model, small_inputs


def setting(classes=2, seed=3, n=6, spread=0.4):
    model, x = linear_model(48, classes, seed=seed), small_inputs(n, 4, seed=seed) * spread + 0.5 - spread / 2
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


@pytest.mark.parametrize("seed", [3, 4])
def test_within_1_05_of_the_exact_distance(seed):
    """After 5,000 questions, or sooner: when no turn of a single sign helps, a row is done."""
    model, x, labels = setting(seed=seed)
    result = st.RayS(queries=5000)(model, x, st.Untargeted(labels), st.Linf())
    ratio = result.size / exact_distance(model, x, labels, math.inf)
    assert result.success.all()
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio <= 1.05).all()
    assert (result.forwards < 2000).all()


def test_limits_that_bind():
    model, x = linear_model(48, seed=0), small_inputs(6, 4, seed=0)
    with torch.no_grad():
        model.bias += torch.tensor([-4, 4]) - model(x).mean(0)
        labels = model(x).argmax(1)
    result = st.RayS(queries=5000)(model, x, st.Untargeted(labels), st.Linf())
    assert (result.size / exact_distance(model, x, labels, math.inf)).max() <= 1.05


@pytest.mark.parametrize("box", [None, st.Box(-2.0, 2.0)])
def test_other_limits(box):
    model, x, labels = setting()
    result = st.RayS(queries=3000, tolerance=1e-4)(model, x, st.Untargeted(labels), st.Linf(box=box))
    assert (result.size / exact_distance(model, x, labels, math.inf, box)).max() <= 1.05


def test_the_first_questions_after_x_are_about_all_signs_alike():
    """Then come halves and quarters, as in the paper; each that loses costs one question."""
    asked = []

    def model(x):
        asked.append(x.clone())
        return torch.eye(2)[torch.zeros(len(x)).long()]

    st.RayS(queries=10)(model, torch.full((1, 4), 0.5), st.Untargeted(torch.tensor([0])), st.Linf())
    signs = [(1 - 2 * point[0]).long().tolist() for point in asked[1:10]]
    whole, halves = [[-1, -1, -1, -1], [1, 1, 1, 1]], [[1, 1, -1, -1], [-1, -1, 1, 1]]
    quarters = [[-1 if place != turn else 1 for place in range(4)] for turn in range(4)]
    assert signs == [*whole, *halves, *quarters, quarters[0]]


def test_blocks_cover_every_value_at_every_level():
    for d in (1, 2, 3, 7, 48):
        level, block = torch.zeros(1).long(), torch.zeros(1).long()
        seen = {}
        for _ in range(200):
            turned = _turned(torch.ones(1, d), level, block) < 0
            assert turned.any()
            if int(level) < math.ceil(math.log2(d)):
                seen.setdefault(int(level), torch.zeros(1, d)).add_(turned)
            level, block = _next_block(level, block, d)
        assert all((count == 1).all() for count in seen.values())


def test_a_turn_that_changes_nothing_costs_one_question():
    """A model that looks at one value of 16: all other signs may be anything."""
    weight = torch.zeros(2, 16).double()
    weight[1, 5] = 1
    model, x = LinearModel(weight, torch.tensor([0.7, 0.0]).double()), torch.full((1, 16), 0.5).double()
    result = st.RayS()(model, x, st.Untargeted(torch.tensor([0])), st.Linf())
    assert result.size.item() == pytest.approx(0.2, abs=1e-3)
    assert result.forwards < 100


@pytest.mark.parametrize("queries", [1, 2, 3, 7, 40])
def test_few_questions(queries):
    model, x, labels = setting()
    result = st.RayS(queries=queries)(model, x, st.Untargeted(labels), st.Linf())
    assert (result.forwards <= queries + 1).all()


def test_what_is_won_already_is_left_alone():
    model, x, labels = setting()
    labels = torch.where(torch.arange(6) == 2, 1 - labels, labels)
    result = st.RayS(queries=50)(model, x, st.Untargeted(labels), st.Linf())
    assert torch.equal(result.x_adv[2], x[2])
    assert result.forwards[2] == 2


def test_options_that_cannot_be_meant():
    for wrong in ({"queries": 0}, {"tolerance": 0.0}):
        with pytest.raises(st.UserError):
            st.RayS(**wrong)
