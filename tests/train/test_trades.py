"""TRADES: known exactly on a linear model, and the authors' loop written out with batch-norm."""

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.checks import UserError
from struthio.losses import Divergence
from struthio.testing import linear_model, small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.plain import Plain
from struthio.train.trades import TRADES, NoisyStart
from tests.train.steps import moment, slopes


def test_a_linear_model_is_moved_to_one_end_or_the_other():
    """There the divergence grows both ways from x, and the noise decides which: two closed forms, one a row."""
    model, x, y, eps = linear_model(48), small_inputs(8, side=4), torch.arange(8) % 2, 0.1
    with torch.no_grad():
        outputs, most = model(x), eps * model.weight[1].abs().sum()
        ends = [Divergence().drift(outputs + torch.stack([-side * most, side * most]), outputs) for side in (1, -1)]
    noise = 0.001 * moment(8).generator.normal(x.shape[1:], x.dtype)
    up = (noise.flatten(1) @ model.weight[1].detach()) > 0
    assert up.any()
    assert not up.all()
    wanted = F.cross_entropy(outputs, y) + 6 * torch.where(up, *ends).mean()
    loss = TRADES(st.Linf(eps, box=None))(model, x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-10)


@pytest.mark.parametrize("training", [False, True])
def test_agrees_with_the_authors_loop(training):
    """Which asks for the clean answer at every step, and passes slopes through both answers of the loss."""
    x, y, eps, beta, model = small_inputs(8), torch.arange(8) % 5, 0.1, 3.0, network()
    x_adv = (x + 0.001 * moment(8).generator.normal(x.shape[1:], x.dtype)).clamp(0, 1)
    model.train(training)
    for _ in range(10):
        x_adv = x_adv.detach().requires_grad_()
        drift = F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(model(x), 1), reduction="sum")
        (grad,) = torch.autograd.grad(drift, x_adv)
        x_adv = (x + (x_adv + eps / 4 * grad.sign() - x).clamp(-eps, eps)).clamp(0, 1).detach()
    model.train()
    logits = model(x)
    robust = F.kl_div(F.log_softmax(model(x_adv), 1), F.softmax(logits, 1), reduction="sum") / 8
    wanted = F.cross_entropy(logits, y) + beta * robust
    fresh = network()
    loss = TRADES(st.Linf(eps), beta=beta, training=training)(fresh, x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-9)
    for a, b in zip(slopes(fresh, loss), slopes(model, wanted), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


def test_beta_zero_is_plain():
    x, y = small_inputs(8), torch.arange(8) % 5
    assert torch.allclose(TRADES(beta=0.0)(network(), x, y, moment(8)), Plain()(network(), x, y))


def test_the_start_is_an_attack_like_others():
    model, x, y = network().eval(), small_inputs(8), torch.arange(8) % 5
    result = NoisyStart(steps=20)(model, x, st.Untargeted(y), st.Linf(0.1))
    assert result.success.any()
    still = NoisyStart(noise=0.0, steps=3)(model, x, st.Drift(model(x).detach()), st.Linf(0.1))
    assert still.size.max() <= 0.1 + 1e-9


def test_options_that_cannot_be_meant():
    with pytest.raises(UserError, match="beta"):
        TRADES(beta=-1.0)
    with pytest.raises(UserError, match="noise"):
        NoisyStart(noise=-1.0)
