"""Results on the levels of a saved picture: exactly there, and never beyond the ball."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as some

import struthio as st
from struthio import UserError
from struthio.rows import norm
from struthio.testing import linear_model, small_inputs
from struthio.threats import L0, L1, L2, Box, Levels, Linf, Masked

X = small_inputs(3, 5)


@pytest.mark.parametrize("ball", [Linf(8 / 255), Linf(8.9 / 255), L2(0.2), L1(1.0), L0(7)])
@pytest.mark.parametrize("levels", [2, 16, 256])
@given(seed=some.integers(0, 10**6))
def test_on_the_levels_and_inside(ball, levels, seed):
    x = (X * (levels - 1)).round() / (levels - 1)
    threat = Levels(ball, levels)
    z = ball.project(x, torch.randn(x.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    seen = threat.apply(x, z)
    assert torch.equal(seen, (seen * (levels - 1)).round() / (levels - 1))
    assert (norm(seen - x, ball.p) <= ball.eps + 1e-7).all()


def test_nearest_level_where_the_ball_allows_it():
    x = torch.full((1, 1), 100 / 255)
    z = torch.tensor([[2.6 / 255]])
    assert Levels(Linf(3 / 255)).apply(x, z).item() * 255 == pytest.approx(103)
    assert Levels(Linf(2.8 / 255)).apply(x, z).item() * 255 == pytest.approx(102)


def test_slopes_pass_the_rounding():
    z = torch.full((1, 1), 0.01, requires_grad=True)
    Levels(Linf(0.1)).apply(torch.full((1, 1), 100 / 255), z).backward()
    assert z.grad.item() == 1


def test_inputs_beside_the_levels_are_refused():
    with pytest.raises(UserError, match=r"\.round\(\) / 255"):
        Levels(Linf(0.1)).check(torch.full((1, 3), 0.5))
    with pytest.raises(UserError, match="at least 2"):
        Levels(Linf(0.1), 1)


@pytest.mark.parametrize("box", [Box(0, 1), Box(0.1, 0.9), Box(-1.0, 1.0), Box(0.0, 0.7)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_values_that_do_not_move_stay_to_the_last_bit(box, dtype):
    """However x was brought onto the levels: k * (1 / 255) is not always the number k / 255."""
    x = box.low + torch.arange(256).expand(2, 256).to(dtype) * ((box.high - box.low) / 255)
    x = x.clamp(box.low, box.high)
    free = torch.arange(256) < 50
    model = linear_model(256).to(dtype)
    goal = st.Untargeted(model(x).argmax(1))
    for threat in (Levels(L0(3, box), box=box), Masked(Levels(Linf(0.1, box), box=box), free)):
        result = st.PGD(steps=3)(model, x, goal, threat)
        assert (result.size <= threat.eps + 1e-6).all()
    assert torch.equal(st.PGD(steps=3)(model, x, goal, Levels(Linf(0.0, box), box=box)).x_adv, x)


def test_limits_that_differ_are_refused():
    """Levels between 0 and 1 of a ball between -1 and 1 cannot be meant."""
    x = torch.tensor([[-1.0, 1.0], [0.0, 1.0]])
    with pytest.raises(UserError):
        Levels(Linf(0.1, Box(-1, 1))).check(x)
