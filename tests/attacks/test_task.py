"""A slope that is infinite or not a number somewhere costs no row its search."""

import pytest
import torch

import struthio as st

ATTACKS = [st.FGSM(), st.PGD(steps=10), st.PGD(steps=10, random_start=False), st.APGD(steps=10), st.MIFGSM(steps=10)]
ATTACKS += [st.ODIPGD(restarts=2), st.DDN(steps=20), st.FMN(steps=20)]


def rooted(x):
    """Falls once the roots of three values sum to 1: at 0 the slope is infinite."""
    return torch.stack([1 - x[:, :3].sqrt().sum(1), torch.zeros(len(x))], 1)


def folded(x):
    """Falls once the last value is .5; the slope of the first, which means nothing, is NaN at 0."""
    return torch.stack([1 - 2 * x[:, 3] - 1e-6 * x[:, 0].square().sqrt(), torch.zeros(len(x))], 1)


@pytest.mark.parametrize("model", [rooted, folded])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: type(attack).__name__)
def test_a_slope_that_breaks_down_at_some_values_leads_on(attack, model):
    x, labels = torch.zeros(2, 4), torch.zeros(2, dtype=torch.int64)
    x[1] = 0.01
    found = attack(model, x, st.Untargeted(labels), st.L2(0.8))
    assert found.success.all()
    assert found.x_adv.isfinite().all()
