"""HopSkipJump against exact distances, with targets, and with few questions."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks.walk import Walk
from struthio.testing import LinearModel, exact_distance, linear_model, small_inputs

BALLS = {2: st.L2, math.inf: st.Linf}


def setting(classes=2, seed=3, n=6):
    model, x = linear_model(48, classes, seed=seed), small_inputs(n, 4, seed=seed) * 0.4 + 0.3
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


@pytest.mark.parametrize("p", BALLS)
@pytest.mark.parametrize("classes", [2, 4])
def test_within_1_10_of_the_exact_distance(p, classes):
    """After 5,000 questions; of four classes the nearest is not always the one that is found."""
    model, x, labels = setting(classes)
    result = st.HopSkipJump(queries=5000)(model, x, st.Untargeted(labels), BALLS[p]())
    ratio = result.size / exact_distance(model, x, labels, p)
    assert result.success.all()
    assert (ratio >= 1 - 1e-9).all()
    assert (ratio if classes == 2 else ratio.median()).max() <= 1.05
    assert ((result.forwards > 4950) & (result.forwards <= 5001)).all()


@pytest.mark.parametrize("p", BALLS)
def test_limits_that_bind(p):
    model, x = linear_model(48, seed=0), small_inputs(6, 4, seed=0)
    with torch.no_grad():
        model.bias += torch.tensor([-4, 4]) - model(x).mean(0)
        labels = model(x).argmax(1)
    result = st.HopSkipJump(queries=5000)(model, x, st.Untargeted(labels), BALLS[p]())
    assert (result.size / exact_distance(model, x, labels, p)).max() <= 1.10


@pytest.mark.parametrize("box", [None, st.Box(-3.0, 5.0)])
def test_other_limits(box):
    model, x, labels = setting()
    exact = exact_distance(model, x, labels, 2, box)
    result = st.HopSkipJump(queries=3000)(model, x, st.Untargeted(labels), st.L2(box=box))
    assert (result.size / exact).max() <= 1.10


@pytest.mark.parametrize(("p", "power"), [(2, 1.5), (math.inf, 2)])
def test_how_near_points_lie_and_how_far_probes_reach(p, power, monkeypatch):
    """The paper: theta is d^-3/2 in L2 and d^-2 in Linf, and probes are 1 / d of the distance long in both."""
    model, x = linear_model(300, seed=3), small_inputs(6, 10, seed=3)
    model.bias.data -= model(x).mean(0).detach()
    x = x[:1]
    back, slope, near, far, reach = Walk.back, Walk.slope, [], [], []

    def watched_back(walk, rows, points, tolerance):
        far.append(float(walk.size(rows, points)))
        near.append(float(tolerance) / far[-1])
        return back(walk, rows, points, tolerance)

    def watched_slope(walk, rows, points, delta, counts, draw):
        reach.append(float(delta) / far[-1])
        return slope(walk, rows, points, delta, counts, draw)

    monkeypatch.setattr(Walk, "back", watched_back)
    monkeypatch.setattr(Walk, "slope", watched_slope)
    st.HopSkipJump(queries=400)(model, x, st.Untargeted(model(x).argmax(1)), BALLS[p]())
    assert near == pytest.approx([300**-power] * len(near))
    assert len(reach) > 1
    assert reach[1:] == pytest.approx([1 / 300] * (len(reach) - 1))  # the first is a tenth of the box


@pytest.mark.parametrize("queries", [1, 2, 3, 5, 13, 31, 32, 150])
def test_few_questions(queries):
    model, x, labels = setting()
    result = st.HopSkipJump(queries=queries)(model, x, st.Untargeted(labels), st.L2())
    assert (result.forwards <= queries + 1).all()
    assert result.success.sum() >= (0 if queries < 20 else 6)


def test_the_meter_is_kept_to():
    """A row's budget is its own; one question is left for the judge."""
    model, x, labels = setting()
    meter = st.Metered(model, len(x), budget=200)
    meter.forwards += torch.tensor([0, 50, 150, 190, 198, 199])
    st.HopSkipJump().search(meter, x, st.Untargeted(labels), st.L2(), st.RowGenerator.seeded(0, torch.arange(6)))
    assert ((meter.forwards >= 195) & (meter.forwards <= 199)).all()


def test_a_target_needs_a_start():
    """Noise looks like class 0; a row of the target's class leads there."""
    model = LinearModel(torch.eye(3).double() * 5, torch.tensor([20.0, 0, 0]).double())
    x, start = torch.full((2, 3), 0.5).double(), torch.eye(3)[1:].double()
    with torch.no_grad():
        model.bias[0] = 4.5
    goal = st.Targeted(torch.tensor([1, 2]), torch.tensor([0, 0]))
    lost = st.HopSkipJump(queries=30)(model, x, goal, st.L2())
    assert not lost.success.any()
    assert torch.equal(lost.x_adv, x)
    won = st.HopSkipJump(queries=500, start=start)(model, x, goal, st.L2())
    assert won.success.all()
    assert (won.size < (start - x).norm(dim=1)).all()


def test_a_cap():
    """A win beyond the radius is none; the smallest is looked for all the same."""
    model, x, labels = setting()
    free = st.HopSkipJump(queries=1500)(model, x, st.Untargeted(labels), st.L2())
    order = free.size.sort().values
    capped = st.HopSkipJump(queries=1500)(model, x, st.Untargeted(labels), st.L2(float(order[2] + order[3]) / 2))
    assert torch.equal(capped.success, free.size <= order[2])
    assert torch.equal(capped.x_adv[capped.success], free.x_adv[capped.success])


def test_few_frequencies_are_found_sooner_where_the_slope_has_no_others():
    """QEBA-F."""
    x = torch.full((4, 1, 16, 16), 0.5).double() + 0.1 * small_inputs(4, 16, 1)
    wave = torch.cos(math.pi / 16 * (torch.arange(16).double() + 0.5))
    slope = (wave[:, None] * wave).reshape(1, -1)
    model = LinearModel(torch.cat([-slope, slope]), torch.tensor([10.0, 0.0]).double())
    goal = st.Untargeted(torch.zeros(4).long())
    exact = exact_distance(model, x, goal.labels, 2)
    low, full = (st.HopSkipJump(queries=600, band=band)(model, x, goal, st.L2()).size for band in (0.25, 1.0))
    assert (low / exact <= 1.05).all()
    assert (full / exact >= 1.15).all()


def test_options_that_cannot_be_meant():
    for wrong in ({"queries": 0}, {"initial": 0}, {"most": 2.5}, {"gamma": 0.0}, {"band": 1.5}):
        with pytest.raises(st.UserError):
            st.HopSkipJump(**wrong)
