"""Mixed batches: the weighted mean, the random radii, the three classes a step can go by, and leaking labels."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.stats import kstest, truncnorm
from torch import nn

import struthio as st
from struthio.checks import UserError
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs, small_net
from struthio.testing.recipe_bench import network
from struthio.train.mixing import Mixing, leaking, radii
from struthio.train.plain import Plain
from tests.train.steps import moment

EPS = 0.1


def step(model, x, classes, eps, towards):
    """One gradient sign, in evaluation mode."""
    near = x.clone().requires_grad_()
    (grad,) = torch.autograd.grad(F.cross_entropy(model.eval()(near), classes, reduction="sum"), near)
    return (x + (-1 if towards else 1) * eps * grad.sign()).clamp(0, 1)


@pytest.mark.parametrize(("share", "k"), [(0.5, 4), (0.25, 2), (1.0, 8)])
@pytest.mark.parametrize("lam", [0.3, 1.0])
def test_the_loss_is_the_weighted_mean_of_one_mixed_batch(share, k, lam):
    x, y = small_inputs(8), torch.arange(8) % 5
    with torch.no_grad():
        least = network().eval()(x[:k]).argmin(1)
    x_adv = step(network(), x[:k], least, EPS, towards=True)
    outputs = network()(torch.cat([x_adv, x[k:]]))
    each = F.cross_entropy(outputs, y, reduction="none")
    wanted = (each[k:].sum() + lam * each[:k].sum()) / ((8 - k) + lam * k)
    recipe = Mixing(st.Linf(EPS), share=share, lam=lam, spread=None)
    assert torch.allclose(recipe(network(), x, y, moment(8)), wanted, rtol=1e-12)


@pytest.mark.parametrize("aim", ["predicted", "true"])
def test_steps_away_from_the_answer_or_the_label(aim):
    x, y = small_inputs(8), torch.arange(8) % 5
    with torch.no_grad():
        predicted = network().eval()(x).argmax(1)
    assert not torch.equal(predicted, y)
    wanted = step(network(), x, y if aim == "true" else predicted, EPS, towards=False)
    recipe = Mixing(st.Linf(EPS), share=1.0, spread=None, aim=aim)
    assert torch.equal(recipe.perturb(network(), x, y, moment(8)), wanted)


@pytest.mark.parametrize("spread", [0.5, 0.2, 3.0])
def test_radii_are_truncated_normal(spread):
    drawn = radii(spread, RowGenerator.seeded(0, torch.arange(5000)))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    known = truncnorm(0, 1 / spread, scale=spread)
    assert kstest(drawn.numpy(), known.cdf).pvalue > 0.01


def test_every_row_moves_by_its_own_radius():
    model, x = linear_model(48), small_inputs(8, side=4)
    moved = Mixing(st.Linf(EPS, box=None), share=1.0).perturb(model, x, torch.arange(8) % 2, moment(8)) - x
    wanted = EPS * radii(0.5, moment(8).generator)
    assert torch.allclose(moved.flatten(1).abs().amax(1), wanted)
    assert torch.allclose(moved.flatten(1).abs().amin(1), wanted)


def test_a_batch_too_small_to_share_is_plain():
    x, y = small_inputs(1), torch.tensor([1])
    assert torch.equal(Mixing()(small_net().eval(), x, y, moment(1)), Plain()(small_net().eval(), x, y))


class Reader(nn.Module):
    """Two classes, told apart by the sum of the pixels."""

    def __init__(self, slip: float) -> None:
        super().__init__()
        self.slip = slip

    def forward(self, x):
        score = x.flatten(1).sum(1) - self.slip
        return torch.stack([-score, score], 1)


def test_leaking_is_the_gain_under_fgsm():
    x = torch.full((4, 1, 2, 2), 0.5)
    model, threat = Reader(slip=2.0 - 0.1), st.Linf(0.1)  # every row has the score 0.1, and is called 1
    assert leaking(model, x, torch.tensor([1, 1, 1, 0]), threat) == pytest.approx(-0.75)  # FGSM turns those of 1
    assert leaking(model, x, torch.tensor([0, 0, 0, 0]), threat) == 0.0
    assert leaking(model, x, torch.tensor([1, 1, 1, 1]), st.Linf(0.0)) == 0.0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"share": 0.0}, "share"),
        ({"lam": 0.0}, "lam"),
        ({"spread": -1.0}, "spread"),
        ({"aim": "likely"}, "aim"),
        ({"threat": st.L0(3)}, "spread=None"),
    ],
)
def test_options_that_cannot_be_meant(options, said):
    with pytest.raises(UserError, match=said):
        Mixing(**options)


def test_the_papers_sigma():
    """Sigma 8 and a cut at 16, of 255: two thirds of the radii lie below the deviation, less the tail cut off."""
    drawn = 16 * radii(0.5, RowGenerator.seeded(1, torch.arange(20000)))
    inside = math.erf(1 / math.sqrt(2)) / math.erf(2 / math.sqrt(2))
    assert float((drawn < 8).double().mean()) == pytest.approx(inside, abs=0.01)
