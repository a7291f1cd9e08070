"""L-BFGS: finds the least that scipy finds, keeps to the limits, and pays the dearest price that still wins."""

import numpy as np
import pytest
import scipy.optimize
import torch
from torch import nn

import struthio as st
from struthio.attacks import LBFGS
from struthio.attacks.minimal.lbfgs import Otherwise
from struthio.attacks.minimal.quasi_newton import minimise
from struthio.testing import exact_distance, linear_model, small_inputs


def smooth_net():
    """No kinks: at one the least is no place of no slope, and scipy gives up."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(48, 8), nn.Tanh(), nn.Linear(8, 3)).double().eval()


NET, X = smooth_net(), small_inputs(4, 4)
with torch.no_grad():
    Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)


def weighed(c):
    """What the attack makes least, and its slope, for rows of X and a change z [n, d]."""

    def look(rows, z):
        z = z.clone().requires_grad_()
        score = Otherwise().away(NET(X[rows] + z.reshape(-1, *X.shape[1:])), Y[rows])
        value = c * z.square().sum(1) - score
        return value.detach(), torch.autograd.grad(value.sum(), z)[0]

    return look


def by_scipy(look, row, z, low, high):
    def one(at):
        value, slope = look(torch.tensor([row]), torch.from_numpy(at)[None])
        return float(value), slope[0].numpy()

    limits = scipy.optimize.Bounds(low[row].numpy(), high[row].numpy())
    options = {"maxiter": 1000, "maxfun": 1000, "ftol": 1e-15, "gtol": 1e-9}
    return scipy.optimize.minimize(one, z[row].numpy(), jac=True, method="L-BFGS-B", bounds=limits, options=options)


@pytest.mark.parametrize("c", [0.03, 1.0])
def test_the_least_is_that_of_scipy(c):
    look, z = weighed(c), torch.zeros_like(X).flatten(1)
    low, high = -X.flatten(1), 1 - X.flatten(1)
    ours = minimise(look, z, low, high, steps=200, tolerance=1e-8)
    theirs = [by_scipy(look, row, z, low, high) for row in range(len(X))]
    assert ((ours == low) | (ours == high)).any(1).all(), "limits bind"
    np.testing.assert_allclose(look(torch.arange(len(X)), ours)[0], [found.fun for found in theirs], rtol=1e-8)
    np.testing.assert_allclose(ours, np.stack([found.x for found in theirs]), atol=1e-4)


def test_a_bent_valley_is_followed_to_its_end():
    """Rosenbrock's, once with its least at (1, 1), once with a limit at 0.5 before it; a row each."""

    def look(rows, z):
        a, b = z.unbind(1)
        slope = torch.stack([-2 * (1 - a) - 400 * a * (b - a**2), 200 * (b - a**2)], 1)
        return (1 - a) ** 2 + 100 * (b - a**2) ** 2, slope

    start = torch.tensor([[-1.2, 1.0], [-1.2, 1.0]]).double()
    high = torch.tensor([[9.0, 9.0], [0.5, 9.0]]).double()
    end = minimise(look, start, torch.full_like(high, -9.0), high, steps=200, tolerance=1e-8)
    torch.testing.assert_close(end, torch.tensor([[1.0, 1.0], [0.5, 0.25]]).double(), rtol=0, atol=1e-6)


def test_rows_go_their_own_pace():
    together = LBFGS()(NET, X, GOAL, st.L2())
    alone = [LBFGS()(NET, X[[row]], GOAL[torch.tensor([row])], st.L2()) for row in range(len(X))]
    assert together.forwards.tolist() == [int(one.forwards) for one in alone]
    assert len(set(together.forwards.tolist())) > 1


def test_a_row_that_is_won_as_it_comes_asks_once_more_at_most():
    result = LBFGS()(NET, X, st.Targeted(Y), st.L2())
    assert result.size.tolist() == [0] * len(X)
    assert (result.forwards <= 101).all()


def test_a_first_price_that_is_far_off_is_mended():
    sizes = [LBFGS(c=c, rounds=12)(NET, X, GOAL, st.L2()).size for c in (1e-3, 1.0, 1e3)]
    torch.testing.assert_close(sizes[0], sizes[1], rtol=0.02, atol=0)
    torch.testing.assert_close(sizes[2], sizes[1], rtol=0.02, atol=0)


def test_without_limits_the_way_is_straight():
    model, x = linear_model(48, classes=2), small_inputs(4, 4)
    labels = model(x).argmax(1)
    result = LBFGS()(model, x, st.Untargeted(labels), st.L2(box=None))
    share = result.size / exact_distance(model, x, labels, 2, box=None)
    assert share.min() > 1 - 1e-6
    assert share.max() < 1.02, share


def test_the_loss_levels_off_beyond_the_boundary():
    outputs = torch.tensor([[0.0, 8.0], [8.0, 0.0]]).double().requires_grad_()
    loss = Otherwise().away(outputs, torch.tensor([0, 0]))
    torch.testing.assert_close(loss.exp(), torch.softmax(outputs, 1)[:, 1])
    slope = torch.autograd.grad(loss.sum(), outputs)[0].abs().amax(1)
    assert slope[0] < 1e-3 < 0.99 < slope[1]


def test_options_are_checked():
    for option, value in (("steps", 0), ("rounds", 0), ("c", 0.0), ("memory", 0)):
        with pytest.raises(st.UserError, match=option):
            LBFGS(**{option: value})
