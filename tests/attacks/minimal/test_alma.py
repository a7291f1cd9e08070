"""ALMA: its penalty, its first step, and lines written from its paper."""

import pytest
import torch

import struthio as st
from struthio.attacks.minimal.alma import _force
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(6, 8)
Y = NET(X).argmax(1)


def penalty(y, rho, mu):
    """P2 of Birgin, Castillo and Martinez (2005), the penalty that the paper found best."""
    above = mu * y + mu * rho * y**2 + rho**2 * y**3 / 6
    return torch.where(y >= 0, above, mu * y / (1 - rho * y.clamp(max=0)))


def test_the_force_is_the_slope_of_the_penalty():
    y = torch.linspace(-3, 3, 13).double().requires_grad_()
    rho, mu = torch.tensor(1.7).double(), torch.tensor(0.4).double()
    (slope,) = torch.autograd.grad(penalty(y, rho, mu).sum(), y)
    torch.testing.assert_close(_force(y.detach(), rho, mu), slope)


@pytest.mark.parametrize(("ball", "first"), [(st.L2, 0.1), (st.L1, 0.5)])
def test_the_first_step_has_the_size_asked_for(ball, first):
    """After it momentum is the slope over the root of the running mean of squares, which began at 1."""
    asked = []

    def net(v):
        asked.append(v.detach())
        return NET(v)

    st.ALMA(steps=2)(net, X, st.Untargeted(Y), ball())
    size = ball().size(X, asked[1])
    assert (size > 0.95 * first).all()
    assert (size < 1.1 * first).all()


def alma(x, y, steps, length):
    """The paper's loop in L2 for given step lengths [n]: the smallest length that won."""
    n = len(x)
    d, square, momentum = torch.zeros_like(x).requires_grad_(), torch.ones_like(x), torch.zeros_like(x)
    mu, rho, best = torch.ones(n).double(), torch.ones(n).double(), torch.full((n,), torch.inf).double()
    since, before = torch.full((n,), float(steps)), None
    for step in range(steps + 1):
        out = NET(x + d)
        loss = 1e-4 - st.DLR().away(out, y)
        y_now = loss.detach()
        if step and (step + 1) % 10 == 0:
            rho = torch.where(best.isinf() & (out.argmax(1) == y) & (y_now >= 0.95 * before), 1.2 * rho, rho)
            before = y_now
        if step:
            mu = (0.9 * mu + 0.1 * _force(y_now, rho, mu)).clamp(1e-6, 1e12)
        else:
            before = y_now
        size = d.flatten(1).square().sum(1).clamp(min=1e-24).sqrt()
        won = out.argmax(1) != y
        since = torch.where(won, since.clamp(max=step), since)
        best = torch.where(won & (size < best), size, best).detach()
        (g,) = torch.autograd.grad((size + penalty(loss, rho, mu)).sum(), d)
        square = 0.9 * square + 0.1 * g.square()
        momentum = 0.9 * momentum + g / (square.sqrt() + 1e-8)
        decay = 0.01 ** ((step - since).clamp(min=0) / (steps - since).clamp(min=1))
        d = ((x + d - (length * decay)[:, None, None, None] * momentum).clamp(0, 1) - x).detach().requires_grad_()
    return best


def test_agrees_with_the_paper():
    """The first length, found there by a search, is read off the first step here."""
    asked = []

    def net(v):
        asked.append(v.detach())
        return NET(v)

    result = st.ALMA(steps=60)(net, X, st.Untargeted(Y), st.L2())
    at = X.clone().requires_grad_()
    loss = 1e-4 - st.DLR().away(NET(at), Y)
    (g,) = torch.autograd.grad(penalty(loss, torch.ones(()), torch.ones(())).sum(), at)
    went = g / ((0.9 + 0.1 * g.square()).sqrt() + 1e-8)
    inner = (asked[1] > 0) & (asked[1] < 1) & (g != 0)
    length = torch.stack([((X - asked[1])[i][inner[i]] / went[i][inner[i]]).median() for i in range(len(X))])
    assert result.success.all()
    torch.testing.assert_close(result.size, alma(X, Y, 60, length), rtol=1e-4, atol=0)


def test_two_classes_need_another_loss():
    x, y = torch.full((2, 4), 0.5), torch.zeros(2, dtype=torch.long)
    two = lambda v: torch.stack([1 - v.sum(1) / 6, v.sum(1) / 6], 1)  # noqa: E731
    with pytest.raises(st.UserError, match=r"Margin\(\)"):
        st.ALMA(steps=5)(two, x, st.Untargeted(y), st.L2())
    assert st.ALMA(steps=100, loss=st.Margin())(two, x, st.Untargeted(y), st.L2()).success.all()


def test_options_are_checked():
    for wrong in (
        {"steps": 0},
        {"first": 0.0},
        {"multiplier": 0.0},
        {"sharpness": -1.0},
        {"every": 0},
        {"smooth": 1.5},
    ):
        with pytest.raises(st.UserError):
            st.ALMA(**wrong)
