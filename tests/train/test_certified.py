"""Certified training: its loss in closed form on a linear model, against short references, and its schedule."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.certify.network import NotBounded
from struthio.rows import as_generator
from struthio.train.certified import CROWNIBP, IBP, ramped
from struthio.train.recipe import Moment

EPS = 0.1


def at(done, x):
    return Moment(as_generator(0, x), done)


def rows(n=6, features=5, classes=4):
    torch.manual_seed(0)
    return 0.2 + 0.6 * torch.rand(n, features), torch.randint(classes, (n,))


def two_layers():
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 4))


@pytest.mark.parametrize("recipe", [IBP(st.Linf(EPS), kappa=0.0), CROWNIBP(st.Linf(EPS), beta=0.5)])
def test_on_a_linear_model_the_loss_is_that_of_the_worst_logits(recipe):
    x, y = rows()
    model = nn.Sequential(nn.Linear(5, 4))
    w, logits = model[0].weight, model(x)
    gaps = w[y][:, None] - w  # of each label to each class
    worst = logits - logits.gather(1, y[:, None]) + EPS * gaps.abs().sum(2)
    found = recipe(recipe.prepare(model), x, y, at(0.9, x))
    assert torch.isclose(found, -worst.log_softmax(1).gather(1, y[:, None]).mean(), rtol=1e-3)


def intervals(model, x, eps):
    """Both ends of the hidden units before the ReLU, after Gowal et al."""
    first = model[0]
    middle, radius = first(x), eps * first.weight.abs().sum(1)
    return middle - radius, middle + radius


def test_intervals_agree_with_a_short_reference():
    x, y = rows()
    model, recipe = two_layers(), IBP(st.Linf(EPS), kappa=0.25)
    low, high = (edge.relu() for edge in intervals(model, x, EPS))
    a = model[2].weight - model[2].weight[y][:, None]  # [n, other, hidden]
    b = model[2].bias - model[2].bias[y][:, None]
    worst = (a.clamp(min=0) * high[:, None] + a.clamp(max=0) * low[:, None]).sum(2) + b
    wanted = 0.25 * F.cross_entropy(model(x), y) + 0.75 * F.cross_entropy(worst, y)
    assert torch.isclose(recipe(recipe.prepare(model), x, y, at(0.9, x)), wanted, rtol=1e-3)


def test_lines_agree_with_a_short_reference():
    x, y = rows()
    model, recipe = two_layers(), CROWNIBP(st.Linf(EPS), beta=1.0)
    low, high = intervals(model, x, EPS)
    chord = (high.relu() - low.relu()) / (high - low)
    below = torch.where((low < 0) & (high > 0), (high > -low).float(), chord)
    a = model[2].weight - model[2].weight[y][:, None]
    up, down = a.clamp(min=0), a.clamp(max=0)  # a rise takes the chord above, a fall the line below
    slopes = up * chord[:, None] + down * below[:, None]
    shift = (up * (high.relu() - chord * high)[:, None]).sum(2) + model[2].bias - model[2].bias[y][:, None]
    into = slopes @ model[0].weight
    worst = (into * x[:, None]).sum(2) + slopes @ model[0].bias + shift + EPS * into.abs().sum(2)
    assert torch.isclose(recipe(recipe.prepare(model), x, y, at(0.9, x)), F.cross_entropy(worst, y), rtol=1e-3)


@pytest.mark.parametrize("recipe", [IBP(st.L2(0.2)), CROWNIBP(st.L2(0.2), beta=0.5), CROWNIBP(st.Linf(EPS), beta=0.5)])
def test_gradients_are_those_of_the_loss(recipe):
    x, y = rows()
    model = two_layers().double()
    trained, weight = recipe.prepare(model), model[0].weight
    recipe(trained, x.double(), y, at(0.9, x)).backward()
    step, h = torch.randn_like(weight), 1e-6
    with torch.no_grad():
        weight += h * step
        above = recipe(trained, x.double(), y, at(0.9, x))
        weight -= 2 * h * step
        below = recipe(trained, x.double(), y, at(0.9, x))
    assert torch.isclose((above - below) / (2 * h), (weight.grad * step).sum(), rtol=1e-4)


def test_units_that_never_wake_leave_gradients_finite():
    x, y = rows()
    model = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4))
    with torch.no_grad():
        model[0].bias.fill_(-9)  # every interval after the first ReLU is the point 0
    for recipe in (IBP(st.Linf(EPS)), CROWNIBP(st.Linf(EPS), beta=0.5)):
        recipe(recipe.prepare(model), x, y, at(0.9, x)).backward()
        assert all(bool(p.grad.isfinite().all()) for p in model.parameters())


def test_batch_norm_is_bounded_as_it_answers_in_evaluation_mode_and_learns():
    x, y = rows()
    model = nn.Sequential(nn.Linear(5, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 4))
    recipe = IBP(st.Linf(0.0), kappa=0.0)
    trained = recipe.prepare(model).train()
    for _ in range(5):
        found = recipe(trained, x, y, at(0.9, x))
    found.backward()
    assert trained.training
    assert float(model[1].weight.grad.abs().sum()) > 0
    assert torch.isclose(found, F.cross_entropy(model.eval()(x), y), rtol=1e-3)


def test_training_starts_without_bounds_and_the_radius_grows_to_the_end():
    x, y = rows()
    recipe, model = IBP(st.Linf(EPS)), two_layers()
    trained = recipe.prepare(model)
    assert recipe(trained, x, y, at(0.0, x)) == F.cross_entropy(model(x), y)
    losses = [recipe(trained, x, y, at(done, x)).item() for done in (0.05, 0.1, 0.2, 0.6)]
    assert losses == sorted(losses)
    assert losses[2] == losses[3]
    assert [ramped(done, 0.1, 0.4) for done in (0.05, 0.3, 0.5, 0.9)] == pytest.approx([0, 0.5, 1, 1])
    assert [ramped(done, 0.1, 0.0) for done in (0.05, 0.1)] == [0, 1]


def test_the_model_is_what_was_given_and_a_copy_of_what_trains_bounds_itself():
    x, y = rows()
    recipe, model = IBP(st.Linf(EPS)), two_layers()
    trained = recipe.prepare(model)
    before = recipe(trained, x, y, at(0.9, x))
    other = copy.deepcopy(trained)
    with torch.no_grad():
        other.model[0].weight.zero_()
    assert recipe(trained, x, y, at(0.9, x)) == before
    assert recipe(other, x, y, at(0.9, x)) != before
    assert recipe.finish(trained) is model


def test_a_few_steps_prove_rows_that_plain_training_does_not():
    torch.manual_seed(3)
    x = torch.rand(256, 8)
    y = (x[:, 0] > 0.5).long()
    x[:, 0] = torch.where(y == 1, 0.85, 0.15)
    left = []
    for recipe in (IBP(st.Linf(0.2), warmup=0.0, ramp=0.5), IBP(st.Linf(0.0))):
        torch.manual_seed(4)
        model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 32), nn.ReLU(), nn.Linear(32, 2))
        trained, optimizer = recipe.prepare(model), torch.optim.Adam(model.parameters(), 1e-2)
        for step in range(40):
            optimizer.zero_grad()
            recipe(trained, x, y, at(step / 40, x)).backward()
            optimizer.step()
        left.append(st.certify(model.eval(), x, y, st.Linf(0.2), "interval").rate)
    assert left[0] > 0.95
    assert left[1] < 0.5


def test_mistakes_are_explained():
    x, y = rows()
    with pytest.raises(st.UserError, match="kappa is 1"):
        IBP(kappa=1.0)
    with pytest.raises(st.UserError, match=r"warmup \+ ramp is 1.5"):
        CROWNIBP(warmup=0.5, ramp=1.0)
    with pytest.raises(st.UserError, match="beta is 2"):
        CROWNIBP(beta=2.0)
    with pytest.raises(st.UserError, match="prepare"):
        IBP()(two_layers(), x, y, at(0.9, x))
    odd = nn.Sequential(nn.Linear(5, 4), nn.Softsign())
    with pytest.raises(NotBounded, match="abs"):
        IBP()(IBP().prepare(odd), x, y, at(0.9, x))
