"""What adversarial recipes share: the radius that grows, inputs that are refused, and how often the model is asked."""

import pytest
import torch

import struthio as st
from struthio.checks import UserError
from struthio.testing import small_inputs, small_net
from struthio.testing.recipe_bench import network
from struthio.testing.traces import Counting
from struthio.train.awp import AWP
from struthio.train.fast import FastAT
from struthio.train.fgsm_at import FGSMAT
from struthio.train.free import FreeAT
from struthio.train.gaussian import Gaussian
from struthio.train.mart import MART
from struthio.train.mixing import Mixing
from struthio.train.pgd_at import PGDAT
from struthio.train.trades import TRADES
from struthio.train.vat import VAT
from tests.train.steps import moment

COST = {  # forwards a row: those of the search, and those of the loss
    FGSMAT(): 1 + 2,
    FastAT(): 1 + 1,
    PGDAT(): 7 + 1,
    FreeAT(): 1,
    Mixing(): 0.5 + 1,
    TRADES(): 1 + 10 + 2,
    MART(): 10 + 2,
    AWP(): 7 + 1 + 1,
    VAT(): 1 + 2,
    Gaussian(): 1,
}


@pytest.mark.parametrize("recipe", COST, ids=lambda recipe: type(recipe).__name__)
def test_no_forward_is_needless(recipe):
    model = Counting(small_net()).train()
    recipe(model, small_inputs(8), torch.arange(8) % 5, moment(8))
    assert model.forwards == COST[recipe] * 8


@pytest.mark.parametrize(("done", "radius"), [(0.0, 0.0), (0.1, 0.1), (0.2, 0.2), (0.3, 0.3), (0.9, 0.3)])
def test_the_radius_grows_to_that_of_the_threat(done, radius):
    x, y = small_inputs(4), torch.arange(4)
    recipe = PGDAT(st.Linf(0.3), ramp=0.3, attack=st.PGD(steps=9, step=0.25, keep="last"))
    moved = (recipe.perturb(small_net().train(), x, y, moment(4, 1, done)) - x).flatten(1).abs().amax(1)
    assert moved.tolist() == pytest.approx([radius] * 4, abs=1e-6)


def test_inputs_beyond_the_limits_are_refused_at_the_first_step():
    x, y = small_inputs(4) * 255, torch.arange(4)
    with pytest.raises(UserError, match="allows"):
        PGDAT()(small_net().train(), x, y, moment(4))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"threat": st.L2()}, "infinite"),
        ({"threat": st.Linf(torch.tensor([0.1, 0.2]))}, "one radius a row"),
        ({"ramp": 1.5}, "ramp"),
        ({"ramp": -0.5}, "ramp"),
    ],
)
def test_options_that_cannot_be_meant(options, said):
    with pytest.raises(UserError, match=said):
        PGDAT(**options)


def test_radii_of_0_to_255_are_refused():
    with pytest.raises(UserError, match="8/255"):
        TRADES(st.Linf(8))


def test_the_search_is_in_the_mode_asked_for():
    """In training mode the batch's own statistics lead the search, and the running ones move."""
    x, y, points = small_inputs(8), torch.arange(8) % 5, []
    for training in (False, True):
        model = network()
        before = model[1].running_mean.clone()
        points.append(PGDAT(training=training).perturb(model, x, y, moment(8)))
        assert torch.equal(model[1].running_mean, before) is not training
        assert model.training
    assert not torch.equal(*points)
