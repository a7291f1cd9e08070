"""VFGA: the greedy choice on planes, the paper's lines for one row, pixels, and toward a target."""

import pytest
import torch

import struthio as st
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs, small_net


def ten_lines(model, x, label, generator, samples):
    """The algorithm of the paper for one row between 0 and 1, by the probability of its label."""
    start = x.clone()
    for step in range(x.numel()):
        scores = model(x.reshape(1, 3, 8, 8).requires_grad_())
        if scores.argmax() != label:
            break
        slope = torch.autograd.grad(scores.log_softmax(1)[0, label], x)[0]
        x, idle, tried = x.detach(), x == start, []
        shares = generator.fold(step).normal((samples, 2), x.dtype).abs()[0]
        down = (slope * x).masked_fill(~idle, -torch.inf).argmax()
        up = (-slope * (1 - x)).masked_fill(~idle, -torch.inf).argmax()
        for place, limit, share in ((down, 0, shares[:, 0]), (up, 1, shares[:, 1])):
            for part in share:
                tried.append(x.clone())
                tried[-1][place] += part.clamp(max=1) * (limit - x[place])
        probability = model(torch.stack(tried).reshape(-1, 3, 8, 8)).softmax(1)
        x = tried[int((probability[:, label] - (probability.argmax(1) != label).double()).argmin())].requires_grad_()
    return x.detach()


def test_it_is_that_of_the_paper():
    model, x = small_net(8), small_inputs(4, 8)
    labels = model(x).argmax(1)
    result = st.VFGA(samples=4)(model, x, st.Untargeted(labels), st.L0(), generator=3)
    assert result.success.all()
    assert result.size.max() > 1
    for row in range(4):
        generator = RowGenerator.seeded(3, torch.tensor([row]))
        by_hand = ten_lines(model, x[row].flatten().requires_grad_(), labels[row], generator, 4)
        torch.testing.assert_close(result.x_adv[row].flatten(), by_hand)


def test_no_value_is_moved_twice_and_a_row_ends_when_none_is_left():
    model, x = linear_model(6), torch.full((3, 6), 0.5).double()
    with torch.no_grad():
        model.bias.copy_(torch.tensor([1e3, -1e3]))  # out of reach
    result = st.VFGA(samples=3, loss=st.Margin())(model, x, st.Untargeted(torch.zeros(3).long()), st.L0())
    assert not result.success.any()
    assert (result.size == 6).all()
    assert (result.forwards == 1 + 6 * 7 + 1).all(), "one at x, seven a step, one for the judge"


def test_pixels_move_with_all_channels():
    model, x = small_net(8), small_inputs(6, 8)
    goal = st.Untargeted(model(x).argmax(1))
    values, pixels = (st.VFGA()(model, x, goal, st.L0(unit=unit)) for unit in ("feature", "pixel"))
    assert pixels.success.all()
    assert ((pixels.x_adv != x).any(1).flatten(1).sum(1) == pixels.size).all()
    assert pixels.size.sum() < values.size.sum()


def test_toward_a_target():
    model, x = linear_model(48, classes=4), small_inputs(6, 4)
    targets = model(x).argsort(1)[:, -2]
    result = st.VFGA()(model, x, st.Targeted(targets), st.L0())
    assert (model(result.x_adv).argmax(1) == targets).all()
    assert (result.x_adv >= 0).all()
    assert (result.x_adv <= 1).all()


def test_without_limits_the_deviation_is_one():
    model, x = linear_model(6), torch.zeros(2, 6).double()
    goal = st.Untargeted(model(x).argmax(1))
    result = st.VFGA(steps=1, samples=1)(model, x, goal, st.L0(box=None), generator=1)
    shares = RowGenerator.seeded(1, torch.arange(2)).fold(0).normal((1, 2), x.dtype).abs().flatten(1)
    moved = (result.x_adv - x).abs().amax(1)
    assert ((moved == shares[:, 0]) | (moved == shares[:, 1])).all()


def test_options_that_cannot_be_meant():
    for options in ({"steps": 0}, {"samples": 0}):
        with pytest.raises(st.UserError):
            st.VFGA(**options)
