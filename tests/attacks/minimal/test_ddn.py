"""DDN agrees with ten lines written from its paper, and keeps to what the paper says of sphere, step and levels."""

import math

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(6, 8)
Y = NET(X).argmax(1)


def ddn(x, y, steps, sign=1, levels=None):
    """Algorithm 1 of arXiv 1811.09600: the smallest adversarial input of all that were tried."""
    d, radius, best = torch.zeros_like(x), torch.ones(len(x)).double(), torch.full((len(x),), torch.inf).double()
    found = x.clone()
    for step in range(steps + 1):
        at = (x + d).requires_grad_()
        out = NET(at)
        (g,) = torch.autograd.grad(sign * F.cross_entropy(out, y, reduction="sum"), at)
        won, size = (out.argmax(1) != y) if sign > 0 else (out.argmax(1) == y), d.flatten(1).norm(dim=1)
        better = won & (size < best)
        best[better], found[better] = size[better], at.detach()[better]
        length = 0.01 + 0.99 * (1 + math.cos(math.pi * step / steps)) / 2
        d = d + length * g / g.flatten(1).norm(dim=1)[:, None, None, None]
        radius = radius * torch.where(won, 0.95, 1.05)
        d = (x + d * (radius / d.flatten(1).norm(dim=1))[:, None, None, None]).clamp(0, 1) - x
    return found, best


@pytest.mark.parametrize("sign", [1, -1])
def test_agrees_with_the_paper(sign):
    labels = Y if sign > 0 else (Y + 1) % 5
    goal = st.Untargeted(labels) if sign > 0 else st.Targeted(labels)
    found, size = ddn(X, labels, 40, sign)
    result = st.DDN(steps=40)(NET, X, goal, st.L2())
    assert result.success.all()
    torch.testing.assert_close(result.size, size, rtol=1e-6, atol=0)
    torch.testing.assert_close(result.x_adv, found, rtol=0, atol=1e-6)


def test_on_levels_what_is_judged_lies_on_them():
    """The paper rounds to 256 levels within the search: the sizes are hardly larger than without."""
    free = st.DDN(steps=60)(NET, X, st.Untargeted(Y), st.L2())
    result = st.DDN(steps=60)(NET, X, st.Untargeted(Y), st.Levels(st.L2()))
    assert result.success.all()
    assert ((result.x_adv * 255).round() / 255 - result.x_adv).abs().max() < 1e-9
    assert (result.size <= 1.02 * free.size).all()


def test_a_row_that_is_never_won_stays_finite():
    """Radii grow by a twentieth a step; without limits nothing else holds them back."""
    goal = st.Targeted(torch.full((2,), 1))
    never = lambda x: torch.stack([x.flatten(1).sum(1) ** 2 + 1, -1 + 0 * x.flatten(1).sum(1)], 1)  # noqa: E731
    for threat in (st.L2(), st.L2(box=None)):
        result = st.DDN(steps=200)(never, X[:2], goal, threat)
        assert not result.success.any()
        assert result.x_adv.isfinite().all()


def test_options_are_checked():
    for wrong in ({"steps": 0}, {"step": 0.0}, {"radius": -1.0}, {"gamma": 1.5}):
        with pytest.raises(st.UserError):
            st.DDN(**wrong)
