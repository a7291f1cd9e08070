"""DeepFool and SuperDeepFool: exact on planes, the paper's ten lines, and toward a target."""

import math

import pytest
import torch

import struthio as st
from struthio.testing import exact_distance, linear_model, small_inputs, small_net


def ten_lines(model, x, label, steps, overshoot=0.02):
    """The algorithm of the paper in L2 for one row, without limits."""
    total, asked = torch.zeros_like(x), 0
    for asked in range(steps + 1):
        z = (x + (1 + overshoot) * total).requires_grad_()
        scores = model(z)[0]
        if scores.argmax() != label or asked == steps:
            break
        slopes = [torch.autograd.grad(score, z, retain_graph=True)[0] for score in scores]
        others = [k for k in range(len(scores)) if k != label]
        way = {k: slopes[k] - slopes[label] for k in others}
        nearest = min(others, key=lambda k: float((scores[k] - scores[label]).detach().abs() / way[k].norm()))
        height = (scores[nearest] - scores[label]).abs().detach() + 1e-4
        total = total + height / way[nearest].norm() ** 2 * way[nearest]
    return z.detach()


def test_without_limits_it_is_that_of_the_paper():
    model, x = small_net(8), small_inputs(8, 8)
    labels = model(x).argmax(1)
    result = st.DeepFool()(model, x, st.Untargeted(labels), st.L2(box=None))
    assert result.success.all()
    for row, label in enumerate(labels.tolist()):
        torch.testing.assert_close(result.x_adv[row : row + 1], ten_lines(model, x[row : row + 1], label, 50))


@pytest.mark.parametrize("norm", [st.L1, st.L2, st.Linf])
def test_one_step_reaches_a_plane(norm):
    model, x = linear_model(48), small_inputs(6, 4)
    labels = model(x).argmax(1)
    result = st.DeepFool(steps=1)(model, x, st.Untargeted(labels), norm(box=None))
    exact = exact_distance(model, x, labels, norm.p, box=None)
    assert result.success.all()
    assert (result.size >= exact).all()
    assert (result.size <= 1.021 * exact + 1e-3).all()


def test_a_row_that_is_wrong_already_stays():
    model, x = small_net(8), small_inputs(4, 8)
    result = st.DeepFool()(model, x, st.Untargeted((model(x).argmax(1) + 1) % 5), st.L2())
    assert result.success.all()
    assert torch.equal(result.x_adv, x)
    assert not result.size.any()


@pytest.mark.parametrize("attack", [st.DeepFool(), st.SuperDeepFool(), st.FAB()])
def test_toward_a_target(attack):
    model, x = linear_model(48, classes=4), small_inputs(8, 4)
    order = model(x).argsort(1)
    result = attack(model, x, st.Targeted(order[:, -2]), st.L2())
    assert (model(result.x_adv).argmax(1) == order[:, -2]).all()


def test_super_is_nearer():
    """On the digits the changes of SuperDeepFool are smaller than DeepFool's."""
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(30)))
    plain, better = (attack(model, x, st.Untargeted(y), st.L2()) for attack in (st.DeepFool(), st.SuperDeepFool()))
    assert plain.success.all()
    assert better.success.all()
    assert better.size.median() < 0.97 * plain.size.median()


@pytest.mark.parametrize("norm", [st.L2, st.Linf])
def test_a_win_is_no_accident_of_rounding(norm):
    """Every row is won again when it is asked alone, and in double precision."""
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(10)))
    result = st.DeepFool()(model, x, st.Untargeted(y), norm())
    assert result.success.all()
    assert math.isfinite(float(result.size.max()))
    assert all(int(model(row[None]).argmax()) != int(label) for row, label in zip(result.x_adv, y, strict=True))


def test_options_that_cannot_be_meant():
    for options in ({"steps": 0}, {"overshoot": -1.0}, {"classes": 1}):
        with pytest.raises(st.UserError):
            st.DeepFool(**options)
