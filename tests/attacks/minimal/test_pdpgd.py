"""The primal-dual attacks: exact proximal operators, and ten lines written from the paper."""

import math

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.attacks.minimal.proximal import proximal, two_thirds
from struthio.rows import RowGenerator
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(6, 8)
Y = NET(X).argmax(1)
BALLS = {0: st.L0, 1: st.L1, 2: st.L2, math.inf: st.Linf}


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("price", [0.0, 0.01, 0.3, 2.0, 50.0])
def test_proximal_operators_are_minima(p, price):
    """No change nearby is cheaper: |u - z|^2 / 2 + price |u|_p, which is convex."""
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(4, 3, 5, generator=generator, dtype=torch.float64)
    prices = torch.full((4,), price, dtype=torch.float64)

    def cost(u):
        return (u - z).flatten(1).square().sum(1) / 2 + prices * torch.linalg.vector_norm(u.flatten(1), ord=p, dim=1)

    best = proximal(BALLS[p](), z, prices)
    others = [best * (1 + way) for way in (-0.01, 0.01)]
    others += [best + s * torch.randn(best.shape, generator=generator, dtype=torch.float64) for s in (1e-4, 1e-2, 0.5)]
    for other in others:
        assert (cost(best) <= cost(other) + 1e-12).all()


def test_two_thirds_is_the_minimum():
    """Compared with a fine grid, the sum of u^(2/3) not being convex."""
    height = torch.linspace(0, 2, 41, dtype=torch.float64)[None]
    grid = torch.linspace(0, 2, 4001, dtype=torch.float64)[:, None]
    for price in (0.01, 0.1, 0.4):
        cost = (grid - height).square() / 2 + price * grid ** (2 / 3)
        found = two_thirds(height, torch.tensor([price]).double())
        reached = (found - height).square() / 2 + price * found ** (2 / 3)
        assert (reached <= cost.amin(0) + 1e-9).all()


def test_counting_pixels_leaves_whole_pixels():
    z = small_inputs(2, 4)
    kept = proximal(st.L0(unit="pixel"), z, torch.tensor([0.3, 0.6]).double()) != 0
    assert torch.equal(kept.any(1), kept.all(1) | ((z != 0) & kept).any(1))
    assert 0 < kept.any(1).sum() < kept.any(1).numel()


def primal_dual(x, y, steps):
    """PDGD of arXiv 2106.01538, Adam by torch: the smallest Euclidean length that won."""
    d, best = torch.zeros_like(x).requires_grad_(), torch.full((len(x),), torch.inf).double()
    adam = torch.optim.Adam([d], lr=0.1)
    dual = torch.full_like(best, -math.log(0.01))
    weight = dual.sigmoid()
    for step in range(steps + 1):
        out = NET(x + d)
        margin = out.gather(1, y[:, None]).squeeze(1) - out.scatter(1, y[:, None], -torch.inf).amax(1)
        size = d.flatten(1).square().sum(1).clamp(min=1e-24).sqrt()
        best = torch.where((out.argmax(1) != y) & (size < best), size, best).detach()
        adam.zero_grad()
        ((1 - weight) * size + weight * F.softplus(margin)).sum().backward()
        adam.param_groups[0]["lr"] = 0.1 * 0.01 ** (step / steps)
        adam.step()
        with torch.no_grad():
            d.copy_((x + d).clamp(0, 1) - x)
            theta = 0.1 * (1 - 0.9 * step / (steps - 1))
            dual = (dual + theta * margin.sign()).clamp(math.log(1e-6), -math.log(1e-6))
            weight = 0.9 * weight + 0.1 * dual.sigmoid()
    return best


def test_pdgd_agrees_with_the_paper():
    result = st.PDGD(steps=80)(NET, X, st.Untargeted(Y), st.L2())
    assert result.success.all()
    torch.testing.assert_close(result.size, primal_dual(X, Y, 80), rtol=1e-5, atol=0)


@pytest.mark.parametrize("p", BALLS)
def test_pdpgd_wins_rows_and_targets(p):
    target = (Y + 1) % 5
    for goal in (st.Untargeted(Y), st.Targeted(target)):
        result = st.PDPGD(steps=150)(NET, X, goal, BALLS[p]())
        assert result.success.all()
        assert goal.success(NET(result.x_adv)).all()


class Plateau(torch.nn.Module):
    """Class 1 where the first two values are both above 1/2; elsewhere slopes lead nowhere."""

    def forward(self, x):
        over = x.flatten(1)[:, :2].amin(1) - 0.5
        score = torch.where(over > 0, over, over.detach() * 0 - 1)
        return torch.stack([-score, score], 1)


def test_noise_begins_beside_a_plateau_and_what_needs_no_change_gets_none():
    x, y = torch.zeros(16, 1, 2, 2).double(), torch.zeros(16).long()
    y[0] = 1  # is won as it is
    goal, stuck = st.Untargeted(y), st.PDPGD(steps=20)
    assert stuck(Plateau(), x, goal, st.L2()).success.tolist() == [True] + [False] * 15
    for ball in BALLS.values():
        result = st.PDPGD(steps=20, noise=1.0)(Plateau(), x, goal, ball())
        assert result.success.sum() > 1
        assert result.size[0] == 0
        assert (result.forwards == 1 + 20 + 1 + 1).all(), "at x, the steps, the last, the judge"
    some = st.PDPGD(steps=20, noise=1.0)(
        Plateau(), x[4:7], goal[4:7], st.L0(), RowGenerator.seeded(0, torch.arange(4, 7))
    )
    whole = st.PDPGD(steps=20, noise=1.0)(Plateau(), x, goal, st.L0())
    torch.testing.assert_close(some.x_adv, whole.x_adv[4:7])


def test_options_are_checked():
    for wrong in (
        {"steps": 0},
        {"step": 0.0},
        {"ratio": 0.0},
        {"dual_step": 0.0},
        {"smooth": 2.0},
        {"noise": 1.5},
        {"inner": 0},
    ):
        with pytest.raises(st.UserError):
            st.PDPGD(**wrong)
