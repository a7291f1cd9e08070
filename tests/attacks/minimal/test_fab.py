"""FAB: one step by hand, its classes and restarts."""

import pytest
import torch

import struthio as st
from struthio.testing import exact_distance, linear_model, small_inputs, small_net


@pytest.mark.parametrize("norm", [st.L1, st.L2, st.Linf])
def test_the_first_step_lengthens_the_shortest_way_by_eta(norm):
    """From x both ways are one; without a last search what is found is eta times as far as the plane."""
    model, x = linear_model(48), small_inputs(6, 4)
    labels = model(x).argmax(1)
    result = st.FAB(steps=1, final=0)(model, x, st.Untargeted(labels), norm(box=None))
    torch.testing.assert_close(result.size, 1.05 * exact_distance(model, x, labels, norm.p, box=None))


@pytest.mark.parametrize("attack", [st.FAB(steps=20), st.FABT(steps=20, targets=3)])
def test_the_last_search_closes_the_gap(attack):
    model, x = linear_model(48, classes=4), small_inputs(6, 4) * 0.2 + 0.4
    labels = model(x).argmax(1)
    exact = exact_distance(model, x, labels, 2)
    share = attack(model, x, st.Untargeted(labels), st.L2()).size / exact
    assert share.min() > 1 - 1e-6
    assert share.max() < 1.001, share


def test_restarts_never_hurt():
    model, x = small_net(8), small_inputs(8, 8)
    goal = st.Untargeted(model(x).argmax(1))
    once, thrice = (st.FAB(steps=10, restarts=n)(model, x, goal, st.Linf()) for n in (1, 3))
    assert (thrice.size <= once.size * (1 + 1e-6)).all()
    assert (thrice.size < once.size).any()


def test_drift_is_away_from_the_clean_answer():
    model, x = small_net(8), small_inputs(8, 8)
    outputs = model(x).detach()
    drift = st.FABT(steps=10)(model, x, st.Drift(outputs), st.L2())
    away = st.FABT(steps=10)(model, x, st.Untargeted(outputs.argmax(1)), st.L2())
    assert torch.equal(drift.x_adv, away.x_adv)
    assert drift.success.all()


def test_a_target_is_not_for_fab_t():
    model, x = small_net(8), small_inputs(2, 8)
    with pytest.raises(st.UserError, match="take FAB"):
        st.FABT()(model, x, st.Targeted(model(x).argmin(1)), st.L2())
