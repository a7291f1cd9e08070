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
    """All that is promised is gained, so that the steps are .01, .02, .03, .03."""
    model, x = linear_model(48), small_inputs(6, 4) * 0.2 + 0.4
    with torch.no_grad():
        model.bias += torch.tensor([0, 1e3])
    attack = TrustRegion(steps=4, radius=0.01, longest=0.03, grow=2.0)
    goal = st.Untargeted(model(x).argmax(1))
    result = attack(model, x, goal, ball())
    assert not result.success.any()
    torch.testing.assert_close(result.size, torch.full_like(result.size, 1.02 * 0.09))


def trust_region(x, y, steps, radius, longest, p):
    """One input at a time: the size of the first win, and infinity where there is none."""
    dual, at = {2.0: 2.0, math.inf: 1.0}[p], x.clone()

    def wall(at, k):
        at = at.clone().requires_grad_()
        out = NET(at)[0]
        height = out[k] - out[y]
        return height.detach(), torch.autograd.grad(height, at)[0]

    for step in range(steps):
        if step == 0 or (2 * step >= steps and step % (steps // 10) == 0):
            walls = {k: wall(at, k) for k in range(NET(x).shape[1]) if k != y}
            k = min(walls, key=lambda k: -walls[k][0] / norm(walls[k][1], dual))
        height, slope = wall(at, k)
        way = slope.sign() if p == math.inf else slope / norm(slope, 2)
        length = min(float(-height / norm(slope, dual)), radius)
        ahead = at + 1.02 * length * way
        ratio = (wall(ahead, k)[0] - height) / ((ahead - at) * slope).sum()
        radius *= 1.2 if ratio > 0.9 else 1 / 1.2 if ratio < 0.5 else 1
        late = 2 * (step + 1) >= steps
        radius, at = min(max(radius, longest if late else longest / 100), longest), ahead
        if NET(at).argmax() != y:
            return float(norm(at - x, p))
    return math.inf


@pytest.mark.parametrize("p", BALLS)
def test_agrees_with_the_paper(p):
    radius, longest = (0.01, 0.05) if p == 2 else (0.001, 0.005)
    attack = TrustRegion(steps=40, radius=radius, longest=longest, final=0)
    result = attack(NET, X, st.Untargeted(Y), BALLS[p](box=None))
    wanted = [trust_region(X[[row]], int(Y[row]), 40, radius, longest, p) for row in range(len(X))]
    found = torch.where(result.success, result.size, torch.inf)
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=found.dtype), rtol=1e-6, atol=0)
    assert result.success.any()


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
