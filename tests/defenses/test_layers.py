"""Defences inside a model, and around it: their means, what they keep, and how they are put into a network."""

import math

import pytest
import torch
from torch import nn

import struthio as st
from struthio.defenses import DEFENSES, after, before, defended, instead
from struthio.defenses.registry import options_of
from struthio.testing import small_inputs, small_net


def activations(rows=2, seed=0):
    """Activations as a ReLU leaves them, with some zeros."""
    return torch.randn(rows, 3, 4, 5, generator=torch.Generator().manual_seed(seed)).clamp(min=0).double()


def mean_of(layer, a, draws=1000):
    torch.manual_seed(0)
    return torch.stack([layer(a) for _ in range(draws)]).mean(0)


@pytest.mark.parametrize("form", ["draws", "independent"])
def test_sap_leaves_the_mean_and_keeps_by_its_law(form):
    torch.manual_seed(0)
    a, samples = activations(), 0.5
    layer = st.SAP(samples, form)
    p = a.flatten(1) / a.flatten(1).sum(1, keepdim=True)
    r = round(samples * p.shape[1])
    chance = 1 - (1 - p) ** r if form == "draws" else 1 - (-r * p).exp()
    drawn = torch.stack([layer(a).flatten(1) for _ in range(1000)])
    kept = (drawn != 0).double().mean(0)
    assert (kept - chance).abs().max() < 4 * 0.5 / math.sqrt(1000)
    values = drawn.amax(0)[kept > 0]
    torch.testing.assert_close(values, (a.flatten(1) / chance.clamp(min=1e-9))[kept > 0])
    spread = a.flatten(1) * ((1 - chance) / chance.clamp(min=1e-9)).sqrt() / math.sqrt(1000)
    assert ((drawn.mean(0) - a.flatten(1)).abs() <= 5 * spread + 1e-9)[p > 0.001].all()


def test_sap_of_nothing_and_of_one():
    for form in ("draws", "independent"):
        assert torch.equal(st.SAP(form=form)(torch.zeros(2, 5)), torch.zeros(2, 5))
    one = torch.tensor([[0.0, 3.0, 0.0]], requires_grad=True)
    kept = st.SAP()(one)
    torch.testing.assert_close(kept, one)
    kept.sum().backward()
    assert one.grad.isfinite().all()


def test_dropout_leaves_the_mean():
    a = activations()
    out = st.DropoutAtInference(0.25)(a)
    assert ((out == 0) | torch.isclose(out, a / 0.75)).all()
    assert (mean_of(st.DropoutAtInference(0.25), a) - a).abs().max() < 5 * math.sqrt(1 / 3 / 1000) * float(a.max())


def test_noise_has_its_deviation():
    torch.manual_seed(0)
    noise = st.GaussianNoise(0.3)(torch.full((200, 500), 0.5)) - 0.5
    assert abs(float(noise.std()) - 0.3) < 0.003
    assert abs(float(noise.mean())) < 0.005


def test_winners():
    a = torch.tensor([[3.0, -1, 5, 2, 0, 4, 1, -2], [1, 1, 1, 0, 0, 0, 0, 0]]).reshape(2, 2, 4)
    assert st.KWinners(0.25)(a)[0].flatten().tolist() == [0, 0, 5, 0, 0, 4, 0, 0]
    assert st.KWinners(0.26)(a)[0].flatten().tolist() == [3, 0, 5, 0, 0, 4, 0, 0]  # of 2.08 values, 3 win
    assert st.KWinners(0.25)(a)[1].flatten().tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert torch.equal(st.KWinners(1.0)(a), a)


def test_the_stand_in_for_winners_lets_losers_be_seen():
    a = activations().requires_grad_()
    layer = st.KWinners(0.3)
    (hard,) = torch.autograd.grad(layer(a).sum(), a)
    (soft,) = torch.autograd.grad(layer.stand_in(a).sum(), a)
    assert ((hard == 0) & (soft != 0)).any()
    torch.testing.assert_close(layer.stand_in(a * 10), layer.stand_in(a) * 10)
    assert (layer.stand_in(a) - layer(a)).abs().mean() < 0.1 * layer(a).mean()
    assert layer.stand_in(torch.zeros(2, 5)).isfinite().all()


def test_layers_are_put_where_they_are_asked_for():
    net, x = small_net(), small_inputs()
    relus = instead(net, (nn.ReLU,), nn.Identity)
    assert not any(isinstance(part, nn.ReLU) for part in relus.modules())
    assert sum(isinstance(part, nn.ReLU) for part in net.modules()) == 2
    assert torch.equal(after(net, (nn.Linear,), nn.Identity)(x), net(x))
    first = before(net, (nn.Conv2d,), lambda: nn.Threshold(2.0, 0.5))(x)
    assert torch.equal(first, net(torch.full_like(x, 0.5)))


def test_a_layer_used_twice_stays_one():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(4, 4), relu, nn.Linear(4, 4), relu)
    twin = instead(net, (nn.ReLU,), lambda: st.DropoutAtInference(0.5))
    assert twin[1] is twin[3]


def test_a_layer_as_the_whole_model_and_none_at_all():
    assert isinstance(instead(nn.ReLU(), (nn.ReLU,), nn.Identity), nn.Identity)
    with pytest.raises(st.UserError, match="no part of the model is a ReLU"):
        st.KWinners.around(nn.Linear(3, 2))


def test_rse_has_its_noise_before_each_convolution():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Conv2d(2, 2, 3), nn.Flatten(), nn.Linear(8, 3)).eval()
    noisy = st.RSE(net, first=0.2, inner=0.1)
    layers = [part for part in noisy.modules() if isinstance(part, st.GaussianNoise)]
    assert [layer.sigma for layer in layers] == [0.2, 0.1]
    assert not any(isinstance(part, st.GaussianNoise) for part in net.modules())


def test_passes_are_averaged_as_probabilities_and_one_is_made_in_training():
    x, net = small_inputs(3), nn.Sequential(st.GaussianNoise(0.5), small_net()).eval()
    many = st.Passes(net, 4)
    torch.manual_seed(0)
    ours = many.eval()(x)
    torch.manual_seed(0)
    expected = torch.stack([net(x).softmax(1) for _ in range(4)]).mean(0).log()
    torch.testing.assert_close(ours, expected)
    many.training = True
    torch.manual_seed(0)
    ours = many(x)
    torch.manual_seed(0)
    torch.testing.assert_close(ours, net(x).log_softmax(1))


def test_by_name():
    net = small_net()
    model = defended(net, "jpeg", quality=30)
    assert model[0].quality == 30
    assert model[1] is net
    with pytest.raises(st.UserError, match="jpeg"):
        defended(net, "jpge")
    with pytest.raises(st.UserError, match="quality"):
        defended(net, "jpeg", qualty=30)
    assert list(options_of(st.RSE)) == ["first", "inner", "passes"]
    assert "median" in DEFENSES
