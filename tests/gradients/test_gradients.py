"""Slopes: exact by differentiation, averaged, smoothed over what is shattered, and estimated from queries."""

import math

import pytest
import torch
from torch import nn

from struthio import UserError
from struthio.gradients import Autograd, Averaged, Estimated, Smoothed
from struthio.losses import CrossEntropy
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs, small_net

LABELS = torch.tensor([0, 1, 2])


def score(outputs):
    return CrossEntropy().away(outputs, LABELS)


def slope(gradient, model, x, score=score, seed=0):
    return gradient(model, lambda z: x + z, torch.zeros_like(x), score, RowGenerator.seeded(seed, torch.arange(len(x))))


def cosine(a, b):
    return torch.cosine_similarity(a.flatten(1), b.flatten(1))


@pytest.fixture
def net():
    return small_net(5)


@pytest.fixture
def x():
    return small_inputs(3, 5)


def test_autograd_of_a_linear_model_by_hand(x):
    """The slope of cross-entropy is the mean weight under the probabilities, less the label's weight."""
    model = linear_model(75, classes=4)
    grad, outputs = slope(Autograd(), model, x)
    p = outputs.softmax(1)
    expected = p @ model.weight - model.weight[LABELS]
    torch.testing.assert_close(grad.flatten(1), expected.detach())
    torch.testing.assert_close(outputs, model(x).detach())
    assert not grad.requires_grad
    assert not outputs.requires_grad


def test_finite_differences_agree_with_autograd(net, x):
    exact, _ = slope(Autograd(), net, x)
    found, outputs = slope(Estimated("finite", sigma=1e-6), net, x)
    torch.testing.assert_close(found, exact, atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(outputs, net(x).detach())


def test_autograd_without_a_gradient_says_what_to_do(net, x):
    with pytest.raises(UserError, match=r"Estimated\(\)"):
        slope(Autograd(), lambda x: net(x).detach(), x)


def test_averaging_finds_the_mean_slope_of_a_random_model(x):
    """Weights are 1 + noise: the mean slope is that of weight 1, and the error falls with the root of the samples."""

    class Random(nn.Module):
        def forward(self, x):
            return torch.cat([x.flatten(1).sum(1, keepdim=True), (x * (1 + torch.randn_like(x))).flatten(1)[:, :3]], 1)

    torch.manual_seed(0)
    first = lambda outputs: outputs[:, 1]  # noqa: E731
    errors = {}
    for samples in (1, 400):
        grad, _ = slope(Averaged(samples=samples), Random(), x, first)
        errors[samples] = float((grad.flatten(1)[:, 0] - 1).abs().max())
    assert errors[400] < 0.2
    assert errors[400] < errors[1]


def test_averaging_a_fixed_model_changes_nothing(net, x):
    torch.testing.assert_close(slope(Averaged(samples=3), net, x)[0], slope(Autograd(), net, x)[0])


@pytest.mark.parametrize(
    ("gradient", "forwards", "backwards"),
    [
        (Autograd(), 1, 1),
        (Averaged(samples=4), 4, 4),
        (Smoothed(samples=4), 5, 4),
        (Averaged(Smoothed(samples=4), samples=2), 10, 8),
        (Estimated("nes", samples=7), 15, 0),
        (Estimated("spsa", samples=7), 15, 0),
        (Estimated("finite"), 151, 0),
    ],
)
def test_what_a_slope_costs(gradient, forwards, backwards, net, x):
    meter = Metered(net, 3)
    slope(gradient, meter, x)
    assert meter.forwards.tolist() == [forwards] * 3
    assert meter.backwards.tolist() == [backwards] * 3


def test_smoothing_sees_through_a_shattered_slope():
    """A ramp along w with a fine ripple: its exact slope says anything, its mean slope is w."""
    w = torch.randn(20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    class Rippled(nn.Module):
        def forward(self, x):
            s = x @ w
            ripple = s + 0.01 * torch.sin(s * 500)  # true slope swings between -4 and 6 times w
            return torch.stack([-ripple, ripple, 0 * s], 1)

    x = small_inputs(3, 5).flatten(1)[:, :20]
    rise = lambda outputs: outputs[:, 1]  # noqa: E731
    exact, _ = slope(Autograd(), Rippled(), x, rise)
    smooth, outputs = slope(Smoothed(sigma=0.05, samples=400), Rippled(), x, rise)
    lengths = [(grad @ w) / (w @ w) for grad in (exact, smooth)]
    assert (lengths[0] - 1).abs().max() > 1
    assert (lengths[1] - 1).abs().max() < 0.8
    torch.testing.assert_close(outputs, Rippled()(x))


@pytest.mark.parametrize("method", ["nes", "spsa"])
def test_estimates_lean_towards_the_slope(method, x):
    """Of d values, m random directions show a share of about m / (m + d) of the squared slope."""
    model = linear_model(75, classes=4)
    exact, _ = slope(Autograd(), model, x)
    for samples in (25, 400):
        found, outputs = slope(Estimated(method, samples=samples, sigma=1e-4), model, x)
        expected = math.sqrt(samples / (samples + 75))
        assert cosine(found, exact).tolist() == pytest.approx([expected] * 3, abs=0.15)
    torch.testing.assert_close(outputs, model(x).detach())
    torch.testing.assert_close(
        (found * exact).flatten(1).sum(1) / exact.flatten(1).square().sum(1), torch.ones(3).double(), atol=0.2, rtol=0
    )


def test_estimates_do_not_depend_on_the_batch(net, x):
    for gradient in (Estimated("nes", samples=3), Estimated("spsa", samples=3), Smoothed(samples=2)):
        whole, _ = slope(gradient, net, x)
        for row in range(3):
            one = lambda outputs, row=row: CrossEntropy().away(outputs, LABELS[[row]])  # noqa: E731
            generator = RowGenerator.seeded(0, torch.tensor([row]))
            alone, _ = gradient(net, lambda z, row=row: x[[row]] + z, torch.zeros_like(x[[row]]), one, generator)
            torch.testing.assert_close(alone[0], whole[row])


def test_no_parameter_gets_a_gradient(net, x):
    before = {name: parameter.grad for name, parameter in net.named_parameters()}
    slope(Autograd(), net, x)
    assert all(parameter.grad is before[name] for name, parameter in net.named_parameters())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Averaged(samples=0), "samples"),
        (lambda: Smoothed(sigma=0), "sigma"),
        (lambda: Smoothed(samples=0), "samples"),
        (lambda: Estimated("newton"), "'nes', 'spsa', 'finite'"),
        (lambda: Estimated(sigma=-1), "sigma"),
    ],
)
def test_options_that_cannot_be_meant(make, words):
    with pytest.raises(UserError, match=words):
        make()
