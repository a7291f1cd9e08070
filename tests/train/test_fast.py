"""Fast adversarial training: one step of 1.25 radii from a random point, in training mode, cut off at the ball."""

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.checks import UserError
from struthio.testing import linear_model, small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.fast import FastAT
from tests.train.steps import moment


def test_a_linear_model_shows_the_start():
    """There the step is known: u + 1.25 eps s, cut off, with u uniform; a fifth of all values end short of the ball."""
    model, x, y, eps = linear_model(48), small_inputs(8, side=4), torch.arange(8) % 2, 0.1
    now = moment(8)
    start = st.Linf(eps, box=None).sample(x, moment(8).generator)
    way = (model.weight[1] * (1 - 2.0 * y[:, None])).sign().reshape(x.shape)
    x_adv = FastAT(st.Linf(eps, box=None)).perturb(model, x, y, now)
    assert torch.allclose(x_adv - x, (start + 1.25 * eps * way).clamp(-eps, eps), atol=1e-12)
    short = ((x_adv - x).abs() < eps - 1e-9).double().mean()
    assert 0.3 < short < 0.45  # u < -eps / 4 along the way: three eighths


def test_agrees_with_the_published_loop():
    x, y, eps = small_inputs(8), torch.arange(8) % 5, 0.1
    models = [network(), network()]
    delta = st.Linf(eps).sample(x, moment(8).generator).requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(models[0](x + delta), y), delta)
    delta = (delta + 1.25 * eps * grad.sign()).clamp(-eps, eps)
    wanted = F.cross_entropy(models[0]((x + delta).clamp(0, 1)), y)
    loss = FastAT(st.Linf(eps))(models[1], x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-12)
    assert torch.equal(models[0][1].running_mean, models[1][1].running_mean)  # the search moves it, as published


def test_a_step_of_no_length_is_refused():
    with pytest.raises(UserError, match="alpha"):
        FastAT(alpha=0)
