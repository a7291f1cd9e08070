"""Trust region: one step by hand, the radius by hand, agreement with lines from the paper, and goals."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks import TrustRegion
from struthio.rows import norm
from struthio.testing import exact_distance, linear_model, small_inputs, small_net

NET, X = small_net(8), small_inputs(6, 8)
with torch.no_grad():
    Y = NET(X).argmax(1)
BALLS = {2.0: st.L2, math.inf: st.Linf}


@pytest.mark.parametrize("ball", [st.L2, st.Linf])
def test_a_step_that_would_reach_the_wall_goes_just_past_it(ball):
    model, x = linear_model(48, classes=4), small_inputs(6, 4)
    labels = model(x).argmax(1)
    attack = TrustRegion(radius=10.0, adaptive=False, final=0)
    result = attack(model, x, st.Untargeted(labels), ball(box=None))
    torch.testing.assert_close(result.size, 1.02 * exact_distance(model, x, labels, ball.p, box=None))
    assert result.backwards.tolist() == [3 + 1] * 6, "three walls at first, then the nearest alone"


@pytest.mark.parametrize("ball", [st.L2, st.Linf])
def test_on_a_straight_model_the_radius_grows_to_the_longest(ball):
    """All that is promised is gained, so that the steps are .01, .02, .03, .03; and then .03, .09, .3, .9."""
    model, x = linear_model(48), small_inputs(6, 4) * 0.2 + 0.4
    with torch.no_grad():
        model.bias += torch.tensor([0, 1e3])
    attack = TrustRegion(steps=8, radius=0.01, longest=0.03, grow=2.0)
    goal = st.Untargeted(model(x).argmax(1))
    result = attack(model, x, goal, ball(box=None))
    assert not result.success.any()
    steps = [0.01, 0.02, 0.03, 0.03, *(0.03 * 10 ** (late / 2) for late in range(4))]
    torch.testing.assert_close(result.size, torch.full_like(result.size, 1.02 * sum(steps)))


def trust_region(x, y, steps, radius, longest, p):
    """One input at a time: the size of the first win, and infinity where there is none."""
    dual, at, so_far = {2.0: 2.0, math.inf: 1.0}[p], x.clone(), 0

    def wall(at, k):
        at = at.clone().requires_grad_()
        out = NET(at)[0]
        height = out[k] - out[y]
        return height.detach(), torch.autograd.grad(height, at)[0]

    for step in range(steps):
        late = 2 * step / steps - 1
        if step == 0 or (late >= 0 and step % (steps // 10) == 0):
            walls = {k: wall(at, k) for k in range(NET(x).shape[1]) if k != y}
            k = min(walls, key=lambda k: -walls[k][0] / norm(walls[k][1], dual))
        height, slope = wall(at, k)
        so_far = slope / norm(slope, 2) + (0.5 * so_far if late >= 0 else 0)
        way = so_far.sign() if p == math.inf else so_far / norm(so_far, 2)
        radius = longest * 100**late if late >= 0 else radius
        ahead = at + 1.02 * min(float(-height / norm(slope, dual)), radius) * way
        ratio = (wall(ahead, k)[0] - height) / ((ahead - at) * slope).sum()
        radius *= 1.2 if ratio > 0.9 else 1 / 1.2 if ratio < 0.5 else 1
        radius, at = min(max(radius, longest / 100), longest), ahead
        if NET(at).argmax() != y:
            return float(norm(at - x, p))
    return math.inf


@pytest.mark.parametrize("p", BALLS)
def test_agrees_with_the_paper(p):
    radius, longest = (0.01, 0.015) if p == 2 else (0.001, 0.0015)
    attack = TrustRegion(steps=40, radius=radius, longest=longest, final=0)
    result = attack(NET, X, st.Untargeted(Y), BALLS[p](box=None))
    wanted = [trust_region(X[[row]], int(Y[row]), 40, radius, longest, p) for row in range(len(X))]
    found = torch.where(result.success, result.size, torch.inf)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=found.dtype), rtol=1e-6, atol=0)
    assert (result.forwards > 20 + 5)[result.success].any(), "some are won well in the second half"


class Rugged(torch.nn.Module):
    """The wall lies where the values sum to 1/2; the slope says thrice what a step gains, but close to the wall."""

    def forward(self, x):
        way = x.flatten(1).sum(1)
        there = way + 2 * (way - way.detach()) * (way < 0.49)
        return torch.stack([0.5 - there, there - 0.5], 1)


@pytest.mark.parametrize(("ball", "longest"), [(st.L2, 0.02), (st.Linf, 0.01)])
def test_where_slopes_keep_no_promise_the_wall_is_reached_in_long_steps(ball, longest):
    x, y = torch.zeros(2, 4).double(), torch.zeros(2).long()
    result = TrustRegion(steps=60, radius=0.01, longest=longest)(Rugged(), x, st.Untargeted(y), ball())
    assert result.success.all()
    assert (result.forwards > 30).all(), "while it follows the rule, the steps are too short"


def test_no_hardened_digit_is_lost():
    """Steps of the longest radius to the end, without the way so far, lose six of these eight."""
    model, (_, x, y) = st.load("zoo:digits-robust"), next(iter(st.load_data("data:digits").batches(8)))
    assert TrustRegion(steps=100)(model, x, st.Untargeted(y), st.L2()).success.all()


class DeadEnd(torch.nn.Module):
    """Class 1 is nearest at first, but its score has its peak too low; there class 2 is nearer."""

    def forward(self, x):
        way = x.flatten(1).sum(1)
        return torch.stack([torch.ones_like(way), 0.9 - (way - 0.9).square(), 6 * way - 6], 1)


@pytest.mark.parametrize("ball", [st.L2, st.Linf])
def test_a_class_that_cannot_be_reached_is_given_up(ball):
    x, y = torch.full((2, 4), 0.15).double(), torch.zeros(2).long()
    result = TrustRegion(steps=100, radius=0.01)(DeadEnd(), x, st.Untargeted(y), ball())
    assert result.success.all()
    assert (DeadEnd()(result.x_adv).argmax(1) == 2).all()


def test_the_last_search_brings_wins_nearer():
    goal = st.Untargeted(Y)
    far, near = (TrustRegion(radius=0.05, adaptive=False, final=final)(NET, X, goal, st.L2()) for final in (0, 5))
    assert far.success.all()
    assert (near.size <= far.size).all()
    assert (near.size < far.size).any()


@pytest.mark.parametrize("ball", [st.L2, st.Linf])
def test_a_target_is_reached(ball):
    with torch.no_grad():
        targets = NET(X).argsort(1)[:, -2]
    result = TrustRegion(radius=0.01)(NET, X, st.Targeted(targets), ball())
    assert result.success.all()
    assert torch.equal(NET(result.x_adv).argmax(1), targets)


def test_options_are_checked():
    for option, value in (
        ("steps", 0),
        ("classes", 1),
        ("radius", 0.0),
        ("longest", 0.0),
        ("grow", 1.0),
        ("final", -1),
    ):
        with pytest.raises(st.UserError, match=option):
            TrustRegion(**{option: value})
