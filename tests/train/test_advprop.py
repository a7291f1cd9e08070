"""AdvProp: two batch-norms and one of everything else, and statistics that the attack never moves."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.rows import RowGenerator
from struthio.train.advprop import AdvProp, TwoNorms
from struthio.train.recipe import Moment


def pieces():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6),
        nn.Linear(6, 3),
    )  # fmt: skip
    return model, torch.rand(8, 1, 6, 6), torch.arange(8) % 3


def moment(step=0):
    return Moment(RowGenerator.seeded(step, torch.arange(8)), 0.0, step)


def test_the_main_statistics_are_those_of_clean_inputs_alone():
    model, x, y = pieces()
    recipe = AdvProp(st.Linf(0.3))
    trained = recipe.prepare(model).train()
    recipe(trained, x, y, moment())
    model.train()(x)
    for norm, plain in zip((trained.model[1], trained.model[5]), (model[1], model[5]), strict=True):
        assert norm.main.running_mean.equal(plain.running_mean)
        assert norm.main.running_var.equal(plain.running_var)
        assert int(norm.aux.num_batches_tracked) == 1  # the attack runs in evaluation mode
        assert not norm.aux.running_mean.equal(plain.running_mean)


def test_the_loss_is_the_sum_of_both_branches_on_their_own_inputs():
    model, x, y = pieces()
    recipe = AdvProp(st.Linf(0.1), attack=st.FGSM())
    trained = recipe.prepare(model).train()
    seen = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model.eval()(seen), y), seen)  # both branches begin alike
    x_adv = (x + 0.1 * slope.sign()).clamp(0, 1)
    wanted = F.cross_entropy(model.train()(x), y) + F.cross_entropy(model(x_adv), y)
    assert torch.isclose(recipe(trained, x, y, moment()), wanted, rtol=1e-5)


def test_norms_are_apart_and_all_else_is_shared():
    model, x, y = pieces()
    recipe = AdvProp(st.Linf(0.1))
    trained = recipe.prepare(model).train()
    recipe(trained, x, y, moment()).backward()
    assert len(list(trained.parameters())) == len(list(model.parameters())) + 4
    norm = trained.model[1]
    assert not norm.main.weight.grad.equal(norm.aux.weight.grad)
    with torch.no_grad():
        norm.aux.weight.zero_()
        before = trained.eval()(x)
        with trained.auxiliary():
            assert not trained(x).equal(before)
        assert trained(x).equal(before)


def test_what_is_finished_is_an_ordinary_model_and_what_was_given_stays():
    model, x, y = pieces()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    recipe = AdvProp(st.Linf(0.1))
    trained = recipe.prepare(model).train()
    recipe(trained, x, y, moment())
    used = recipe.finish(trained).eval()
    assert set(used.state_dict()) == set(before)
    assert not any(isinstance(part, TwoNorms) for part in used.modules())
    assert used(x).equal(trained.eval()(x))
    assert all(model.state_dict()[name].equal(value) for name, value in before.items())


def test_the_main_branch_is_on_again_after_an_error():
    model, _, y = pieces()
    recipe = AdvProp(st.Linf(0.1))
    trained = recipe.prepare(model)
    with pytest.raises(st.UserError, match="channels"):
        recipe(trained, torch.rand(8, 2, 6, 6), y, moment())
    assert not any(part.uses_aux for part in trained.modules() if isinstance(part, TwoNorms))


def test_mistakes_are_explained():
    model, x, y = pieces()
    with pytest.raises(st.UserError, match="no batch-norm"):
        AdvProp().prepare(nn.Linear(2, 2))
    with pytest.raises(st.UserError, match="prepare"):
        AdvProp()(model, x, y, moment())
