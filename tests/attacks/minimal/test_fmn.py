"""FMN agrees with ten lines written from its paper, where no limits bind; and what it adds where they do."""

import math

import pytest
import torch

import struthio as st
from struthio.testing import small_inputs, small_net
from struthio.threats import projections

NET, X = small_net(8), small_inputs(6, 8)
Y = NET(X).argmax(1)
BALLS = {0: st.L0, 1: st.L1, 2: st.L2, math.inf: st.Linf}


def projected(d, radius, p):
    radius = radius[:, None]
    if p == 2:
        return d * (radius / d.norm(dim=1, keepdim=True)).clamp(max=1)
    if p == math.inf:
        return d.clamp(-radius, radius)
    if p == 1:
        return projections.project_l1(d, radius, None)
    rank = d.abs().argsort(1, descending=True).argsort(1)
    return torch.where(rank < radius, d, 0.0)


def fmn(x, y, p, steps):
    """Algorithm 1 of arXiv 2102.12827 without limits: the smallest size that won."""
    dual = {1: math.inf, 2: 2, math.inf: 1}.get(p)
    d, best = torch.zeros_like(x).flatten(1), torch.full((len(x),), torch.inf).double()
    radius = torch.full_like(best, float(p == 0))
    for step in range(steps + 1):
        at = (x.flatten(1) + d).requires_grad_()
        out = NET(at.reshape(x.shape))
        margin = out.scatter(1, y[:, None], -torch.inf).amax(1) - out.gather(1, y[:, None]).squeeze(1)
        (g,) = torch.autograd.grad(margin.sum(), at)
        won, size = out.argmax(1) != y, torch.linalg.vector_norm(d, ord=p, dim=1)
        best = torch.where(won & (size < best), size, best)
        wave = (1 + math.cos(math.pi * step / steps)) / 2
        gamma, length = 0.001 + 0.049 * wave, 1e-5 + (1 - 1e-5) * wave
        if p == 0:
            less = torch.minimum(torch.minimum(radius - 1, (radius * (1 - gamma)).floor()), best)
            more = torch.maximum(radius + 1, (radius * (1 + gamma)).floor())
        else:
            less = torch.minimum(radius * (1 - gamma), best)
            boundary = size + margin.abs() / torch.linalg.vector_norm(g, ord=dual, dim=1)
            more = torch.where(best.isfinite(), radius * (1 + gamma), boundary * (1 + 1e-5))
        radius = torch.where(won, less, more).clamp(min=0).detach()
        way = g.sign() if p == math.inf else g  # the one departure from the paper
        d = projected(d + length * way / way.norm(dim=1, keepdim=True), radius, p)
    return best.detach()


@pytest.mark.parametrize("p", BALLS)
def test_agrees_with_the_paper(p):
    result = st.FMN(steps=40)(NET, X, st.Untargeted(Y), BALLS[p](box=None))
    assert result.success.all()
    torch.testing.assert_close(result.size, fmn(X, Y, p, 40), rtol=1e-5, atol=0)


@pytest.mark.parametrize("p", BALLS)
def test_limits_are_kept_and_the_target_is_reached(p):
    target = (Y + 1) % 5
    result = st.FMN(steps=60)(NET, X, st.Targeted(target), BALLS[p]())
    assert result.success.all()
    assert torch.equal(result.x_adv, result.x_adv.clamp(0, 1))
    assert torch.equal(NET(result.x_adv).argmax(1), target)


def test_pixels_are_counted_with_all_their_channels():
    result = st.FMN(steps=60)(NET, X, st.Untargeted(Y), st.L0(unit="pixel"))
    assert result.success.all()
    assert torch.equal(result.size, (result.x_adv != X).any(1).flatten(1).sum(1).double())


def test_options_are_checked():
    for wrong in ({"steps": 0}, {"step": 0.0}, {"last_step": 0.0}, {"gamma": 1.5}, {"last_gamma": 0.0}):
        with pytest.raises(st.UserError):
            st.FMN(**wrong)
