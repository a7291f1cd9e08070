"""MART: its loss worked out by hand for known answers, and as its authors write it."""

import math

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.checks import UserError
from struthio.testing import small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.mart import MART
from tests.train.steps import moment, slopes


def test_known_answers():
    """p(x) = (.7, .2, .1), p(x') = (.2, .3, .5), label 0: worked out by hand."""
    answers = {0.0: torch.tensor([[0.7, 0.2, 0.1]]).log(), 1.0: torch.tensor([[0.2, 0.3, 0.5]]).log()}
    loss = MART(beta=5.0).on(lambda x: answers[float(x)], torch.zeros(1), torch.ones(1), torch.tensor([0]))
    boosted = -math.log(0.2) - math.log(1.0001 - 0.5)
    divergence = 0.7 * math.log(0.7 / 0.2) + 0.2 * math.log(0.2 / 0.3) + 0.1 * math.log(0.1 / 0.5)
    assert float(loss) == pytest.approx(boosted + 5 * divergence * (1 - 0.7), rel=1e-5)


def test_agrees_with_the_authors_loss():
    x, y, x_adv, model = small_inputs(8), torch.arange(8) % 5, small_inputs(8, seed=2), network()
    clean, moved = model(x), model(x_adv)
    p, q = moved.softmax(1), clean.softmax(1)
    order = p.argsort(1)[:, -2:]
    rival = torch.where(order[:, -1] == y, order[:, -2], order[:, -1])
    boosted = F.cross_entropy(moved, y) + F.nll_loss((1.0001 - p + 1e-12).log(), rival)
    weight = 1.0000001 - q.gather(1, y[:, None]).squeeze(1)
    robust = (F.kl_div((p + 1e-12).log(), q, reduction="none").sum(1) * weight).mean()
    wanted, fresh = boosted + 5 * robust, network()
    loss = MART().on(fresh, x, x_adv, y)
    assert torch.allclose(loss, wanted, rtol=1e-6)
    for a, b in zip(slopes(fresh, loss), slopes(model, wanted), strict=True):
        assert torch.allclose(a, b, rtol=1e-4, atol=1e-6)


def test_the_search_leads_away_from_the_labels():
    x, y, eps, model = small_inputs(8), torch.arange(8) % 5, 0.1, network().eval()
    x_adv = (x + 0.001 * moment(8).generator.normal(x.shape[1:], x.dtype)).clamp(0, 1)
    for _ in range(10):
        x_adv = x_adv.detach().requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(x_adv), y), x_adv)
        x_adv = (x + (x_adv + eps / 4 * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1).detach()
    assert torch.allclose(MART(st.Linf(eps)).perturb(network(), x, y, moment(8)), x_adv, atol=1e-9)


def test_a_weight_below_zero_is_refused():
    with pytest.raises(UserError, match="beta"):
        MART(beta=-1.0)
