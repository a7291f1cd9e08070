"""Gaussian augmentation: the noise is normal, of the size asked for, and each row's own."""

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.testing import small_inputs, small_net
from struthio.testing.traces import Counting
from struthio.train.gaussian import Gaussian
from struthio.train.plain import Plain
from tests.train.steps import moment


def seen(sigma, x, step=0, n=None):
    model = Counting(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 5).double()))
    Gaussian(sigma)(model, x, torch.arange(len(x)) % 5, moment(len(x), step))
    return model.asked[0]


def test_the_noise_is_normal_and_never_clipped():
    x = torch.zeros(200, 1, 20, 20, dtype=torch.float64)
    noise = seen(0.5, x) / 0.5
    assert abs(float(noise.mean())) < 0.02
    assert float(noise.var()) == pytest.approx(1, abs=0.02)
    assert float((noise**4).mean()) == pytest.approx(3, abs=0.15)
    assert noise.min() < 0


def test_every_row_and_step_draws_anew_whatever_the_batch():
    x = small_inputs(8)
    first = seen(0.25, x) - x
    assert not torch.equal(first, seen(0.25, x, step=1) - x)
    assert not torch.allclose(first[0], first[1])
    assert torch.allclose(seen(0.25, x[:3]) - x[:3], first[:3])


def test_no_noise_is_plain_training():
    model, x, y = small_net().eval(), small_inputs(8), torch.arange(8) % 5
    assert torch.equal(Gaussian(0.0)(model, x, y, moment(8)), Plain()(model, x, y))


def test_noise_of_no_size_is_refused():
    with pytest.raises(UserError, match="sigma"):
        Gaussian(-0.1)
