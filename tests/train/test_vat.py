"""Virtual adversarial training: the power method finds the leading eigenvector, exactly on a linear model."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.checks import UserError
from struthio.losses import Divergence
from struthio.testing import linear_model, small_inputs
from struthio.testing.recipe_bench import network
from struthio.train.vat import VAT
from tests.train.steps import moment, slopes


def drift_from(model, x):
    answer = model(x).detach()
    return lambda z: Divergence().drift(model(z), answer).sum()


def test_two_classes_and_a_linear_model_have_a_closed_form():
    """The Hessian has rank one, so one iteration finds w itself, either way round."""
    model, x, y, eps = linear_model(48), small_inputs(8, side=4), torch.arange(8) % 2, 0.7
    way = model.weight[1].detach() / model.weight[1].detach().norm()
    d = VAT().direction(drift_from(model, x), x, moment(8).generator).flatten(1)
    side = torch.sign(d @ way)
    assert torch.allclose(d, side[:, None] * way, atol=1e-6)
    outputs = model(x).detach()
    most = eps * model.weight[1].detach().norm() * side[:, None] * torch.tensor([-1.0, 1.0], dtype=x.dtype)
    wanted = F.cross_entropy(outputs, y) + 3 * Divergence().drift(outputs + most, outputs).mean()
    loss = VAT(st.L2(eps, box=None), weight=3.0)(model, x, y, moment(8))
    assert torch.allclose(loss, wanted, rtol=1e-6)


def test_more_iterations_come_to_the_leading_eigenvector():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 12), nn.Tanh(), nn.Linear(12, 4)).double()
    x = torch.rand(3, 6, dtype=torch.float64)
    off = []
    for iterations in (1, 4, 60):
        d = VAT(iterations=iterations, xi=1e-5).direction(drift_from(model, x), x, moment(3).generator)
        for row in range(3):
            one = x[row : row + 1]
            answer = model(one).detach()
            divergence = torch.autograd.functional.hessian(
                lambda z, answer=answer: Divergence().drift(model(z[None]), answer).sum(), one[0]
            )
            top = torch.linalg.eigh(divergence).eigenvectors[:, -1]
            off.append(1 - abs(float(d[row] @ top)))
    assert max(off[6:]) < 1e-4
    assert sum(off[6:]) < sum(off[3:6]) < sum(off[:3])


def test_the_default_xi_survives_32_bits():
    """In 32 bits slopes at the paper's 1e-6 are rounding; those at 1e-3 point where 64 bits say."""
    x, directions = small_inputs(8), {}
    for name, dtype, xi in (
        ("exact", torch.float64, 1e-6),
        ("here", torch.float32, VAT().xi),
        ("paper", torch.float32, 1e-6),
    ):
        model = network().eval().to(dtype)
        d = VAT(xi=xi).direction(drift_from(model, x.to(dtype)), x.to(dtype), moment(8).generator)
        directions[name] = d.double().flatten(1)
    alike = {name: (directions[name] * directions["exact"]).sum(1) for name in directions}
    assert alike["here"].min() > 0.99
    assert alike["paper"].min() < 0.9


def test_no_slope_passes_through_the_clean_answer_and_labels_do_not_lead():
    x, y, model, recipe = small_inputs(8), torch.arange(8) % 5, network(), VAT(st.L2(0.5), weight=2.0)
    loss = recipe(model, x, y, moment(8))
    assert int(model[1].num_batches_tracked) == 1  # forwards beside x leave the statistics alone
    other = network()
    outputs = other(x)
    d = recipe.direction(drift_from(network(), x), x, moment(8).generator)
    moved = x + st.L2(0.5).project(x, 0.5 * d)
    wanted = F.cross_entropy(outputs, y) + 2 * Divergence().drift(other(moved), outputs.detach()).mean()
    assert torch.allclose(loss, wanted, rtol=1e-9)
    for a, b in zip(slopes(model, loss), slopes(other, wanted), strict=True):
        assert torch.allclose(a, b, atol=1e-9)


@pytest.mark.parametrize("options", [{"weight": -1.0}, {"iterations": 0}, {"xi": 0.0}])
def test_options_that_cannot_be_meant(options):
    with pytest.raises(UserError, match=next(iter(options))):
        VAT(**options)
