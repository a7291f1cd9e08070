"""Bandits: the prior, its tiles, and two questions a step."""

from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.attacks.queries.bandits import Bandits
from struthio.testing import exact_distance, linear_model, small_inputs


def smooth(n=5, side=8, tile=4):
    """A linear model whose weights are alike within tiles, so that the data prior is right."""
    model, x = linear_model(3 * side**2, seed=3), small_inputs(n, side, seed=3) * 0.2 + 0.4
    with torch.no_grad():
        weight = model.weight[1].reshape(3, side, side)[:, ::tile, ::tile]
        weight = weight.repeat_interleave(tile, 1).repeat_interleave(tile, 2).flatten()
        model.weight[1], model.weight[0] = weight, -weight
        slope = 2 * weight
        margin = torch.linspace(2, 5, n).double() * slope.abs().max()
        score = model(x)[:, 1] - model(x)[:, 0]
        x = x + ((margin - score)[:, None] * slope / slope.square().sum()).reshape(x.shape)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("kind", [st.Linf, st.L2])
def test_linear(kind):
    model, x, labels = smooth()
    distance = exact_distance(model, x, labels, kind.p)
    goal, attack = st.Untargeted(labels), Bandits(queries=2000, tile=4, step=0.05, loss=st.Margin())
    assert not replace(attack, queries=300)(model, x, goal, kind(0.98 * distance)).success.any()
    assert attack(model, x, goal, kind(1.1 * distance)).success.all()


def test_exponentiated_gradients_are_sums_before_the_tangent():
    """The paper's step on (p + 1) / 2, and ours on atanh(p)."""
    prior, slope, rate = torch.linspace(-0.9, 0.9, 7).double(), torch.linspace(1, -2, 7).double(), 0.7
    share = (prior + 1) / 2
    up, down = share * (rate * slope).exp(), (1 - share) * (-rate * slope).exp()
    torch.testing.assert_close((prior.atanh() + rate * slope).tanh(), 2 * up / (up + down) - 1)


def test_tiles():
    x = small_inputs(2, 8)
    attack = Bandits(tile=4)
    assert attack._no_prior(x).shape == (2, 3, 2, 2)
    assert Bandits(tile=3)._no_prior(small_inputs(2, 5)).shape == (2, 3, 2, 2)
    assert attack._no_prior(torch.zeros(2, 30)).shape == (2, 1, 1, 8)


def test_cost():
    model, x, labels = smooth(3)
    with torch.no_grad():
        model.bias[:] = torch.tensor([100.0, -100.0])
    result = Bandits(queries=12)(model, x, st.Untargeted(torch.zeros_like(labels)), st.Linf(0.01))
    assert result.forwards.tolist() == [5 * 2 + 1 + 1] * 3  # pairs, the last point, and the judge
