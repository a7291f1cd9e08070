"""The four balls: steps, samples, sizes, radii and rows, with answers that can be worked out by hand."""

import math

import pytest
import torch
from scipy import stats

from struthio import UserError
from struthio.rows import RowGenerator, norm
from struthio.testing import small_inputs
from struthio.threats import L0, L1, L2, Box, Linf, threat

BALLS = {math.inf: Linf(0.1), 2: L2(0.7), 1: L1(2.0)}


def generator(n, seed=0):
    return RowGenerator.seeded(seed, torch.arange(n))


@pytest.mark.parametrize(("p", "dual"), [(math.inf, 1), (2, 2), (1, math.inf)])
def test_steepest_step_gains_most_of_all_unit_steps(p, dual):
    """Hölder: no step of norm 1 gains more than the dual norm of the slope, and `steepest` gains just that."""
    x = small_inputs(4, 4).clamp(0.2, 0.8)
    grad = torch.randn(x.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    step = BALLS[p].steepest(x, torch.zeros_like(x), grad)
    torch.testing.assert_close(norm(step, p), torch.ones(4, dtype=torch.float64))
    torch.testing.assert_close((step * grad).flatten(1).sum(1), norm(grad, dual))


def test_steepest_step_in_l1_takes_one_value_in_a_hundred():
    x = torch.full((1, 400), 0.5)
    grad = torch.linspace(-1, 1, 400)[None]
    step = L1(1.0).steepest(x, torch.zeros_like(x), grad)
    assert step[0, [0, 1, 398, 399]].tolist() == [-0.25, -0.25, 0.25, 0.25]
    assert norm(step, 1) == 1


def test_steepest_step_in_l1_passes_over_values_without_room():
    x = torch.tensor([[1.0, 0.5, 0.5]])
    step = L1(1.0).steepest(x, torch.zeros_like(x), torch.tensor([[9.0, 2.0, -3.0]]))
    assert step.tolist() == [[0.0, 0.0, -1.0]]


def test_sign_of_zero_is_zero():
    x = torch.full((1, 3), 0.5)
    step = Linf(0.1).steepest(x, torch.zeros_like(x), torch.tensor([[0.0, 2.0, -3.0]]))
    assert step.tolist() == [[0.0, 1.0, -1.0]]


@pytest.mark.parametrize(("p", "ball"), [(2, L2(1.0, None)), (1, L1(1.0, None)), (math.inf, Linf(1.0, None))])
def test_samples_are_uniform_in_the_ball(p, ball):
    """In d dimensions the d-th power of the norm of a uniform point is uniform, and no direction is favoured."""
    n, d = 4000, 5
    z = ball.sample(torch.zeros(n, d, dtype=torch.float64), generator(n))
    assert stats.kstest(norm(z, p).numpy() ** d, "uniform").pvalue > 1e-3
    assert (z.mean(0).abs() < 5 * z.std(0) / math.sqrt(n)).all()
    assert torch.corrcoef(z.T).fill_diagonal_(0).abs().max() < 0.08
    signs = stats.chisquare(torch.bincount(((z > 0).long() * 2 ** torch.arange(d)).sum(1), minlength=2**d))
    assert signs.pvalue > 1e-3


def test_samples_in_l1_reach_every_share():
    """The absolute values of a uniform point and what is left to the radius are uniform on the simplex: Beta(1, d)."""
    z = L1(2.0, None).sample(torch.zeros(4000, 5, dtype=torch.float64), generator(4000))
    assert stats.kstest(z[:, 0].abs().numpy() / 2, stats.beta(1, 5).cdf).pvalue > 1e-3


def test_samples_in_l0_change_the_right_number_of_places():
    x = torch.full((500, 3, 4, 4), 0.5)
    z = L0(5).sample(x, generator(500))
    assert set(norm(z, 0).tolist()) == {5.0}
    hits = (z != 0).flatten(1).sum(0)
    assert stats.chisquare(hits.numpy()).pvalue > 1e-3
    z = L0(5, unit="pixel").sample(x, generator(500))
    assert set((z != 0).any(1).flatten(1).sum(1).tolist()) == {5}
    assert stats.kstest((x + z)[z != 0].numpy(), "uniform").pvalue > 1e-3


def test_sizes_by_hand():
    x = torch.zeros(1, 2, 1, 2)
    x_adv = torch.tensor([[[[0.3, 0.0]], [[-0.4, 0.1]]]])
    assert Linf().size(x, x_adv).item() == pytest.approx(0.4)
    assert L2().size(x, x_adv).item() == pytest.approx(math.sqrt(0.26))
    assert L1().size(x, x_adv).item() == pytest.approx(0.8)
    assert L0().size(x, x_adv).item() == 3
    assert L0(unit="pixel").size(x, x_adv).item() == 2


def test_farthest_by_hand():
    x = torch.tensor([[0.0, 0.25, 1.0]])
    assert Linf().farthest(x).item() == 1
    assert L1().farthest(x).item() == pytest.approx(2.75)
    assert L2().farthest(x).item() == pytest.approx(math.sqrt(1 + 0.75**2 + 1))
    assert L0().farthest(x).item() == 3
    assert L2(box=None).farthest(x).item() == math.inf


def test_another_radius_keeps_the_rest():
    box = Box(-1, 1)
    assert L2(1.0, box).at(3.0) == L2(3.0, box)
    assert L0(3, unit="pixel").at(2.4) == L0(3.0, unit="pixel")
    assert L0(3).at(math.inf).eps == math.inf
    assert L0(3).at(torch.tensor([1.2, 2.0])).eps.tolist() == [2, 2]


def test_rows_take_their_radii_along():
    ball = Linf(torch.tensor([0.1, 0.2, 0.3]))
    assert ball[torch.tensor([2, 0])].eps.tolist() == pytest.approx([0.3, 0.1])
    assert ball[1:].eps.tolist() == pytest.approx([0.2, 0.3])
    assert Linf(0.1)[1:] == Linf(0.1)


def test_limits_do_not_stop_the_slope():
    """At a limit the model sees the clipped input, and the slope still says which way to go back."""
    x, z = torch.tensor([[0.9]]), torch.tensor([[0.3]], requires_grad=True)
    seen = Linf(0.5).apply(x, z)
    assert seen.item() == 1
    seen.backward()
    assert z.grad.item() == 1


def test_without_limits_nothing_is_clipped():
    x = torch.tensor([[0.9]])
    assert Linf(0.5, box=None).apply(x, torch.tensor([[0.3]])).item() == pytest.approx(1.2)


def test_useful_slopes_have_room():
    x = torch.tensor([[1.0, 0.0, 1.0, 0.5]])
    grad = torch.tensor([[1.0, -1.0, -1.0, 1.0]])
    assert Linf(0.1).useful(x, torch.zeros_like(x), grad).tolist() == [[0.0, 0.0, -1.0, 1.0]]
    assert Linf(0.1, None).useful(x, torch.zeros_like(x), grad).equal(grad)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Linf(-0.1), "a radius is a number >= 0"),
        (lambda: L2(math.nan), "NaN"),
        (lambda: Linf(8), r"Is 8/255 meant\?"),
        (lambda: Linf(torch.tensor([0.1, 8.0])), r"Is 8/255 meant\?"),
        (lambda: L0(2.5), "whole number"),
        (lambda: L0(2, unit="pixels"), "'feature', 'pixel'"),
        (lambda: Box(1, 0), "empty"),
        (lambda: threat("l3:1"), "names no known threat"),
        (lambda: threat("linf:abc"), "is no number"),
        (lambda: threat("l2:1:pixel"), "only l0 knows"),
        (lambda: threat("linf:1/0"), "is no number"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


@pytest.mark.parametrize(
    ("ball", "x", "words"),
    [
        (Linf(0.1), torch.zeros(0, 3), "at least one row"),
        (Linf(0.1), torch.full((2, 3), 2.6), "Normalize"),
        (L2(1.0), torch.full((2, 3), -0.1), r"allows \[0, 1\]"),
        (L2(1.0), torch.tensor([[0.1], [math.nan]]), "row 1"),
        (L2(1.0), torch.zeros(2, 3, dtype=torch.uint8), r"x.float\(\) / 255"),
        (L2(torch.ones(3)), torch.zeros(2, 3), "3 radii for 2 rows"),
        (L0(3, unit="pixel"), torch.zeros(2, 3), "needs pictures"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(ball, x, words):
    with pytest.raises(UserError, match=words):
        ball.check(x)


def test_large_radii_are_fine_where_inputs_span_more():
    assert Linf(8, Box(0, 255)).eps == 8
    assert L2(100.0).eps == 100


@pytest.mark.parametrize(
    ("spec", "made"),
    [
        ("linf:8/255", Linf(8 / 255)),
        ("LINF:0.03", Linf(0.03)),
        ("l2", L2()),
        ("l2:inf", L2()),
        ("l1:12", L1(12.0)),
        ("l0:10:pixel", L0(10.0, unit="pixel")),
    ],
)
def test_threats_by_name(spec, made):
    assert threat(spec) == made
