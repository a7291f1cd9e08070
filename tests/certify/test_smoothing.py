"""Randomised smoothing: closed forms, the published interval, and draws that belong to rows."""

import pytest
import torch
from scipy.stats import beta, binom
from torch import nn

import struthio as st
from struthio.certify.smoothing import _tail, least_share


class Halves(nn.Module):
    """Class 1 where the first value is above 0: under noise its probability is Phi(x / sigma), its radius x."""

    def forward(self, x):
        return torch.stack([-x[:, 0], x[:, 0]], 1)


@pytest.mark.parametrize(
    ("count", "of"), [(99, 100), (50, 100), (100_000, 100_000), (99_000, 100_000), (1, 10), (0, 5)]
)
def test_the_lower_limit_is_clopper_and_pearsons(count, of):
    exact = beta.ppf(0.001, count, of - count + 1) if count else 0.0
    assert least_share(count, of, 0.001) == pytest.approx(exact, abs=1e-10)
    assert _tail(count, of, 0.6) == pytest.approx(binom.sf(count - 1, of, 0.6), rel=1e-8, abs=1e-300)


def test_a_half_space_is_certified_up_to_its_distance():
    smooth = st.SmoothedModel(Halves(), 0.5)
    x = torch.tensor([[0.0, 3.0], [0.3, 0.0], [-0.5, 1.0], [0.9, 0.0]])
    found = smooth.certify(x, n=20_000)
    assert found.labels.tolist() == [-1, 1, 0, 1]
    distance = x[:, 0].abs().double()
    assert bool((found.radius <= distance)[1:].all())
    assert torch.allclose(found.radius[1:], distance[1:], atol=0.05)
    assert found.radius[0] == 0
    assert found.accuracy(torch.tensor([1, 1, 0, 1]), 0.4) == 0.5
    assert smooth.predict(x, n=500).tolist() == [-1, 1, 0, 1]
    # Even all draws of one class prove no more than this: 0.5 * Phi^-1(0.001 ** (1 / n)).
    far = smooth.certify(torch.full((1, 2), 50.0), n=1000)
    assert float(far.share) == pytest.approx(0.001 ** (1 / 1000), abs=1e-9)


def test_draws_belong_to_rows():
    smooth, x = st.SmoothedModel(Halves(), 1.0), torch.randn(6, 2) / 2
    whole = smooth.certify(x, n=150, generator=3)
    generator = st.RowGenerator.seeded(3, torch.arange(6))
    for row in (0, 4):
        alone = smooth.certify(x[row : row + 1], n=150, generator=generator[row : row + 1])
        assert alone.labels.equal(whole.labels[row : row + 1])
        assert alone.share.equal(whole.share[row : row + 1])
    assert not smooth.certify(x, n=150, generator=4).share.equal(whole.share)


def test_called_it_is_a_random_model_with_a_gradient():
    smooth, x = st.SmoothedModel(nn.Linear(3, 4), 0.1, samples=8), torch.rand(5, 3, requires_grad=True)
    assert smooth.random
    outputs = smooth(x)
    assert torch.allclose(outputs.exp().sum(1), torch.ones(5))
    assert not outputs.equal(smooth(x))
    outputs[:, 0].sum().backward()
    assert bool((x.grad != 0).any())
    with pytest.raises(st.UserError, match="sigma"):
        st.SmoothedModel(nn.Linear(3, 4), 0.0)
    with pytest.raises(st.UserError, match="n is 0"):
        smooth.certify(torch.rand(1, 3), n=0)
