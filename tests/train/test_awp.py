"""Adversarial weight perturbation: the loss and its slope are those of a copy whose weights were moved."""

import copy

import pytest
import torch

import struthio as st
from struthio.checks import UserError
from struthio.testing import linear_model, small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.awp import AWP
from struthio.train.fgsm_at import FGSMAT
from struthio.train.free import FreeAT
from struthio.train.pgd_at import PGDAT
from struthio.train.trades import TRADES
from tests.train.steps import moment, same, slopes


@pytest.mark.parametrize("inner", [PGDAT(st.Linf(0.1)), TRADES(st.Linf(0.1)), FGSMAT(st.Linf(0.1))])
def test_agrees_with_a_copy_whose_weights_are_moved(inner):
    """The authors' way: a proxy finds v, v is added, the slope is taken there, and steps are made from w."""
    model, x, y, gamma = network(), small_inputs(8), torch.arange(8) % 5, 0.05
    x_adv = inner.perturb(model, x, y, moment(8))
    moved, proxy = copy.deepcopy(model), copy.deepcopy(model)
    inner.on(proxy, x, x_adv, y).backward()
    with torch.no_grad():
        for name, w in moved.named_parameters():
            if w.ndim > 1:
                slope = proxy.get_parameter(name).grad
                w += gamma * w.norm() / slope.norm() * slope
    wanted = inner.on(moved, x, x_adv, y)
    loss = AWP(inner, gamma=gamma)(model, x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-10)
    for a, b in zip(slopes(model, loss), slopes(moved, wanted), strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_the_model_is_never_touched_and_its_statistics_move_once():
    model, x, y = network(), small_inputs(8), torch.arange(8) % 5
    before = [value.clone() for value in model.parameters()]
    AWP()(model, x, y, moment(8)).backward()
    assert same(model.parameters(), before)
    assert int(model[1].num_batches_tracked) == 1


def test_a_linear_model_has_a_closed_form():
    """v has the length gamma ||w||, so that the loss rises by about gamma ||w|| ||slope||."""
    model, x, y = linear_model(48), small_inputs(8, side=4), torch.arange(8) % 2
    inner = PGDAT(st.Linf(0.0))
    plain = inner(model, x, y, moment(8))
    height = model.weight.norm() * torch.autograd.grad(plain, model.weight)[0].norm()
    for gamma in (1e-4, 1e-5):
        gain = AWP(inner, gamma=gamma)(model, x, y, moment(8)) - inner(model, x, y, moment(8))
        assert float(gain.detach() / (gamma * height.detach())) == pytest.approx(1, abs=30 * gamma)


def test_nothing_moves_before_the_end_of_the_warm_up():
    x, y, inner = small_inputs(8), torch.arange(8) % 5, PGDAT(st.Linf(0.1))
    plain = inner(network(), x, y, moment(8, 5, 0.1))
    assert torch.equal(AWP(inner, warmup=0.2)(network(), x, y, moment(8, 5, 0.1)), plain)
    assert torch.allclose(AWP(inner, gamma=0.0)(network(), x, y, moment(8, 5, 0.1)), plain, rtol=1e-12)
    late = AWP(inner, warmup=0.2)(network(), x, y, moment(8, 5, 0.2))
    assert late > plain


@pytest.mark.parametrize(
    ("options", "said"),
    [({"recipe": FreeAT()}, "FreeAT is none"), ({"gamma": -1.0}, "gamma"), ({"warmup": 2.0}, "warm")],
)
def test_options_that_cannot_be_meant(options, said):
    with pytest.raises(UserError, match=said):
        AWP(**options)
