"""Brendel and Bethge's attack: where it starts, what a step does, a target, and that it comes nearer than its start."""

import pytest
import torch

import struthio as st
from struthio.testing import exact_distance, linear_model, small_inputs, small_net


@pytest.mark.parametrize("norm", [st.L1, st.L2, st.Linf])
def test_a_plane_needs_few_steps(norm):
    """The ball is wide at first, so the second look is at the nearest point, but for a tenth past the plane."""
    model, x = linear_model(48, seed=1), small_inputs(6, 4, seed=1)
    labels = model(x).argmax(1)
    result = st.BrendelBethge(steps=8, radius=10.0, decay=1.0)(model, x, st.Untargeted(labels), norm())
    share = result.size / exact_distance(model, x, labels, norm.p)
    assert share.min() > 1 - 1e-6
    assert share.max() < 1.01, share


def test_small_steps_are_no_longer_than_the_ball():
    """From the same start, one step of a small ball ends as far from the boundary point as its radius says."""
    model, x = linear_model(48, seed=1), small_inputs(6, 4, seed=1)
    goal, start = st.Untargeted(model(x).argmax(1)), 1 - x
    here, there = (
        st.BrendelBethge(steps=1, radius=radius, overshoot=1.0, decay=1.0, start=start, halvings=30)(
            model, x, goal, st.L2(box=st.threats.Box(-9.0, 9.0))
        )
        for radius in (1e-9, 1e-3)
    )
    moved = (there.x_adv - here.x_adv).flatten(1).norm(dim=1)
    reach = 1e-3 * 48**0.5 * 18
    assert (moved <= 1.01 * reach).all()
    assert (there.size <= here.size).all()


def test_it_comes_nearer_than_deepfool():
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(6)))
    start = st.DeepFool()(model, x, st.Untargeted(y), st.L2())
    result = st.BrendelBethge(steps=40, decays=10, start=start.x_adv)(model, x, st.Untargeted(y), st.L2())
    assert (result.size <= start.size * (1 + 1e-6)).all()
    assert result.size.median() < 0.97 * start.size.median()


@pytest.mark.parametrize("norm", [st.L0, st.L1, st.L2, st.Linf])
def test_a_start_that_does_not_win_is_found_another(norm):
    """Noise hardly ever is of a chosen class; then DeepFool leads there."""
    model, x = small_net(8), small_inputs(4, 8)
    targets = model(x).argmin(1)
    result = st.BrendelBethge(steps=10, start=x)(model, x, st.Targeted(targets), norm())
    assert result.success.all()
    assert (model(result.x_adv).argmax(1) == targets).all()


def test_a_row_that_is_wrong_already_stays():
    model, x = small_net(8), small_inputs(3, 8)
    result = st.BrendelBethge(steps=3)(model, x, st.Untargeted((model(x).argmax(1) + 1) % 5), st.L2())
    assert torch.equal(result.x_adv, x)
    assert result.success.all()


def test_options_that_cannot_be_meant():
    wrong = ({"steps": 0}, {"radius": 0.0}, {"decay": 2.0}, {"decays": 0}, {"momentum": 1.0}, {"halvings": 0})
    for options in (*wrong, {"overshoot": 0.9}, {"overshoot": 2.1}):
        with pytest.raises(st.UserError):
            st.BrendelBethge(**options)
