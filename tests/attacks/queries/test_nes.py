"""NES and SPSA: the slope estimated from pairs, and the path along it."""

from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.attacks.best import Best
from struthio.attacks.queries.nes import NES, SPSA, _estimate
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import exact_distance, linear_model, small_inputs


def near(n=6):
    model, x = linear_model(48, seed=3), small_inputs(n, 4, seed=3) * 0.4 + 0.3
    with torch.no_grad():
        slope = model.weight[1] - model.weight[0]
        margin = torch.linspace(0.02, 0.05, n).double() * slope.abs().max()
        x = x + ((margin - (model(x)[:, 1] - model(x)[:, 0]))[:, None] * slope / slope.square().sum()).reshape(x.shape)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("attack", [NES(samples=1000, loss=st.Margin()), SPSA(samples=1000)])
def test_slope(attack):
    """Many pairs find the slope of the margin, which on a linear model is a difference of weights: with N in d values
    the cosine is 1 / sqrt(1 + d / N), here 0.977.
    """
    model, x, labels = near(2)
    task = Task.whole(
        Metered(model, 2), x, st.Untargeted(labels), st.Linf(0.0), RowGenerator.seeded(0, torch.arange(2))
    )
    slope, won = _estimate(attack, task, Best(torch.zeros_like(x)), torch.zeros_like(x))
    exact = (model.weight[1 - labels] - model.weight[labels]).detach()
    assert torch.cosine_similarity(slope.flatten(1), exact).min() > 0.96
    assert not won.any()


@pytest.mark.parametrize("attack", [NES(), NES(samples=200), SPSA(step=0.002, queries=20_000)])
@pytest.mark.parametrize("kind", [st.Linf, st.L2])
def test_linear(attack, kind):
    """Within 1.1 of the exact distance."""
    model, x, labels = near()
    distance = exact_distance(model, x, labels, kind.p)
    early = replace(attack, queries=900)
    assert not early(model, x, st.Untargeted(labels), kind(0.98 * distance)).success.any()
    assert attack(model, x, st.Untargeted(labels), kind(1.1 * distance)).success.all()


def test_cost():
    """A step costs a pair for each sample and one question about the point; the last point costs one more."""
    model, x, labels = near(3)
    with torch.no_grad():
        model.bias[:] = torch.tensor([100.0, -100.0])
    result = NES(queries=31, samples=3)(model, x, st.Untargeted(torch.zeros_like(labels)), st.Linf(0.01))
    assert result.forwards.tolist() == [4 * 7 + 1 + 1] * 3  # and one for the judge
