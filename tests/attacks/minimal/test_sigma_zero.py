"""Sigma-zero agrees with lines written from its paper, and counts what the threat counts."""

import math

import pytest
import torch

import struthio as st
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(6, 8)
Y = NET(X).argmax(1)


def sigma_zero(x, y, steps, sigma=1e-3, tau=0.3, t=0.01):
    """Algorithm 1 of arXiv 2402.01879, with Adam by torch: the fewest values that won."""
    d, best = torch.zeros_like(x).requires_grad_(), torch.full((len(x),), torch.inf).double()
    adam, tau, length = torch.optim.Adam([d], lr=1.0), torch.full_like(best, tau), 1.0
    for step in range(steps + 1):
        out = NET(x + d)
        margin = out.gather(1, y[:, None]).squeeze(1) - out.scatter(1, y[:, None], -torch.inf).amax(1)
        loss = margin.clamp(min=0) + (d.square() / (d.square() + sigma)).flatten(1).mean(1)
        adam.zero_grad()
        loss.sum().backward()
        won, size = out.argmax(1) != y, (d != 0).flatten(1).sum(1).double()
        best = torch.where(won & (size < best), size, best)
        with torch.no_grad():
            d.grad /= d.grad.flatten(1).abs().amax(1).clamp(min=1e-12)[:, None, None, None]
            adam.param_groups[0]["lr"] = length
            adam.step()
            d.copy_((x + d).clamp(0, 1) - x)
            length = 0.1 + 0.9 * (1 + math.cos(math.pi * (step + 1) / steps)) / 2
            tau = (tau + torch.where(won, t * length, -t * length)).clamp(0, 1)
            d[d.abs() < tau[:, None, None, None]] = 0
    return best


def test_agrees_with_the_paper():
    result = st.SigmaZero(steps=60)(NET, X, st.Untargeted(Y), st.L0())
    assert result.success.all()
    assert torch.equal(result.size, sigma_zero(X, Y, 60))


def test_pixels_are_counted_with_all_their_channels():
    result = st.SigmaZero(steps=60)(NET, X, st.Untargeted(Y), st.L0(unit="pixel"))
    values = st.SigmaZero(steps=60)(NET, X, st.Untargeted(Y), st.L0())
    assert result.success.all()
    assert torch.equal(result.size, (result.x_adv != X).any(1).flatten(1).sum(1).double())
    assert result.size.mean() <= (values.x_adv != X).any(1).flatten(1).sum(1).double().mean()


def test_targets_too():
    """The paper's attack is untargeted; towards a target the same loss is the target's margin."""
    target = (Y + 1) % 5
    result = st.SigmaZero(steps=100)(NET, X, st.Targeted(target), st.L0())
    assert result.success.all()
    assert torch.equal(NET(result.x_adv).argmax(1), target)


def test_options_are_checked():
    for wrong in ({"steps": 0}, {"step": 0.0}, {"sigma": 0.0}, {"threshold": -0.1}, {"adapt": -1.0}):
        with pytest.raises(st.UserError):
            st.SigmaZero(**wrong)
