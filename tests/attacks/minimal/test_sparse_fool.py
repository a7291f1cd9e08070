"""SparseFool: one step on a plane, the authors' linear solver, and how lambda trades steps for size."""

import pytest
import torch

import struthio as st
from struthio.testing import exact_distance, linear_model, small_inputs, small_net


def linear_solver(x, normal, point, order):
    """The authors' solver for one row without limits on its length: value after value, that of highest order first."""
    x, left = x.clone(), normal.clone()
    while normal @ (x - point) < 0 and left.any():
        place = order.masked_fill(left == 0, -1).argmax()
        x[place] += (normal @ (point - x)).abs() / left[place].abs() * left[place].sign()
        x = x.clamp(0, 1)
        left[place] = 0
    return x


@pytest.mark.parametrize(("ball", "lam"), [(st.L1, 1.0), (st.L0, 1.0), (st.L0, 2.0)])
def test_the_step_is_that_of_the_authors_solver(ball, lam):
    """On two classes DeepFool's point lies 1.02 times as far as the plane, and the solver goes lambda times as far.

    The authors' order is by slope; in L0 it is by slope times room.
    """
    model, x = linear_model(48, seed=1), small_inputs(6, 4, seed=1)
    labels = model(x).argmax(1)
    near = st.DeepFool(overshoot=0.0)(model, x, st.Untargeted(labels), st.L2())
    result = st.SparseFool(lam=lam, overshoot=0.0)(model, x, st.Untargeted(labels), ball())
    assert result.success.all()
    slope = (model.weight[1] - model.weight[0]).detach()
    for row, label in enumerate(labels.tolist()):
        normal, start = slope * (1 - 2 * label), x[row].flatten()
        room = torch.where(normal > 0, 1 - start, start) if ball is st.L0 else 1.0
        point = start + lam * (near.x_adv[row].flatten() - start)
        by_hand = linear_solver(start, normal, point, normal.abs() * room)
        torch.testing.assert_close(result.x_adv[row].flatten(), by_hand, atol=1e-3, rtol=0)


@pytest.mark.parametrize("norm", [st.L0, st.L1])
def test_a_plane_further_away_takes_larger_changes_and_fewer_steps(norm):
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(4)))
    near, far = (st.SparseFool(lam=lam)(model, x, st.Untargeted(y), norm()) for lam in (1.0, 3.0))
    assert near.success.all()
    assert far.success.all()
    assert near.size.median() < 0.6 * far.size.median()
    assert near.forwards.sum() > far.forwards.sum()


def test_sums_of_changes_come_near_the_exact_distance():
    model, x = linear_model(48, seed=2), small_inputs(6, 4, seed=2)
    labels = model(x).argmax(1)
    share = st.SparseFool()(model, x, st.Untargeted(labels), st.L1()).size / exact_distance(model, x, labels, 1)
    assert share.min() > 1 - 1e-6
    assert share.max() < 1.05


def test_toward_a_target():
    model, x = small_net(8), small_inputs(6, 8)
    targets = model(x).argsort(1)[:, -2]
    result = st.SparseFool()(model, x, st.Targeted(targets), st.L0())
    assert (model(result.x_adv).argmax(1) == targets).all()
    assert result.size.max() < 40, "few of 192 values"


def test_options_that_cannot_be_meant():
    for options in ({"steps": 0}, {"lam": 0.0}, {"overshoot": -1.0}, {"inner": 0}, {"classes": 1}):
        with pytest.raises(st.UserError):
            st.SparseFool(**options)
