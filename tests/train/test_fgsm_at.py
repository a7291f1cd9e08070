"""FGSM adversarial training: exact on a linear model, plain at radius 0, and the paper's formula elsewhere."""

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.checks import UserError
from struthio.testing import linear_model, small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.fgsm_at import FGSMAT
from struthio.train.plain import Plain
from tests.train.steps import moment, same, slopes


def test_logistic_regression_has_a_closed_form():
    """Goodfellow et al. (2015), section 5: the worst loss is softplus(eps ||w||_1 - y (w.x + b))."""
    model, x = linear_model(48), small_inputs(8, side=4)
    y, eps = torch.arange(8) % 2, 0.05
    score, sign = 2 * model(x)[:, 1], 2.0 * y - 1
    clean = F.softplus(-sign * score).mean()
    worst = F.softplus(2 * eps * model.weight[1].abs().sum() - sign * score).mean()
    for alpha in (0.0, 0.5, 0.8):
        loss = FGSMAT(st.Linf(eps, box=None), alpha=alpha)(model, x, y, moment(8))
        assert torch.allclose(loss, alpha * clean + (1 - alpha) * worst, rtol=1e-12)


def test_radius_zero_is_plain_training_bit_for_bit():
    x, y, ends = small_inputs(8).float(), torch.arange(8) % 5, []
    for recipe in (Plain(), FGSMAT(st.Linf(0.0))):
        model = network().float()
        optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
        for step in range(5):
            optimizer.zero_grad()
            recipe(model, x, y, moment(8, step)).backward()
            optimizer.step()
        ends.append([value.detach() for value in model.parameters()])
    assert same(*ends)


@pytest.mark.parametrize("alpha", [0.5, 0.25])
def test_agrees_with_the_formula(alpha):
    """In ten lines, with batch-norm: the step in evaluation mode, both halves in training mode, each by itself."""
    model, x, y, eps = network(), small_inputs(8), torch.arange(8) % 5, 0.1
    near = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(model.eval()(near), y), near)
    x_adv = (x + eps * grad.sign()).clamp(0, 1)
    model.train()
    wanted = alpha * F.cross_entropy(model(x), y) + (1 - alpha) * F.cross_entropy(model(x_adv), y)
    wanted_slopes = slopes(model, wanted)
    fresh = network()
    loss = FGSMAT(st.Linf(eps), alpha=alpha)(fresh, x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(slopes(fresh, loss), wanted_slopes, strict=True))


@pytest.mark.parametrize("alpha", [-0.1, 1.0, float("nan")])
def test_weights_that_cannot_be_meant(alpha):
    with pytest.raises(UserError, match="alpha"):
        FGSMAT(alpha=alpha)
