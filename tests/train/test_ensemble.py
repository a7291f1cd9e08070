"""Ensemble adversarial training: which source crafts a batch, from which answers, and with what weight."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.rows import RowGenerator
from struthio.train.ensemble import EnsembleAT
from struthio.train.recipe import Moment

EPS = 0.1


def nets(count=3):
    torch.manual_seed(0)
    return [nn.Sequential(nn.Flatten(), nn.Linear(6, 4)).eval() for _ in range(count)]


def batch():
    torch.manual_seed(1)
    return 0.2 + 0.6 * torch.rand(5, 1, 2, 3), torch.randint(4, (5,))


def moment(step=0):
    return Moment(RowGenerator.seeded(step, torch.arange(5)), 0.0, step)


def crafted(source, x):
    """One gradient sign away from the source's own answers."""
    seen = x.clone().requires_grad_()
    out = source(seen)
    (slope,) = torch.autograd.grad(F.cross_entropy(out, out.argmax(1)), seen)
    return x + EPS * slope.sign()


def test_every_batch_is_crafted_on_one_source_each_as_often_as_the_others():
    x, y = batch()
    model, *sources = nets()
    recipe = EnsembleAT(st.Linf(EPS), sources=tuple(sources))
    known, seen = [crafted(net, x) for net in (model, *sources)], [0, 0, 0]
    for step in range(90):
        found = recipe.perturb(model, x, y, moment(step))
        which = [torch.allclose(found, one, atol=1e-6) for one in known]
        assert sum(which) == 1
        seen[which.index(True)] += 1
    assert min(seen) > 16  # 30 each are expected, with a deviation of 4.5


def test_the_loss_is_the_weighted_mean_of_both_parts():
    x, y = batch()
    model = nets(1)[0]
    for alpha in (0.5, 0.2, 0.0):
        parts = F.cross_entropy(model(x), y), F.cross_entropy(model(crafted(model, x)), y)
        found = EnsembleAT(st.Linf(EPS), alpha=alpha)(model, x, y, moment())
        assert torch.isclose(found, alpha * parts[0] + (1 - alpha) * parts[1])


def test_labels_do_not_leak_into_the_inputs():
    x, y = batch()
    model, *sources = nets()
    recipe = EnsembleAT(st.Linf(EPS), sources=tuple(sources))
    for step in range(5):
        others = (y + 1) % 4
        assert recipe.perturb(model, x, y, moment(step)).equal(recipe.perturb(model, x, others, moment(step)))


def test_r_fgsm_and_sources_that_are_plain_functions_are_taken():
    x, y = batch()
    model, source = nets(2)
    recipe = EnsembleAT(st.Linf(EPS), sources=(lambda seen: source(seen),), attack=st.RFGSM())
    model.train()
    for step in range(8):
        assert bool(recipe(model, x, y, moment(step)).isfinite())
        assert model.training


def test_sources_stay_in_evaluation_mode_when_the_network_crafts_in_training_mode():
    x, y = batch()
    model, _ = nets(2)
    source = nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Linear(6, 4)).eval()
    recipe = EnsembleAT(st.Linf(EPS), training=True, sources=(source,))
    for step in range(8):
        recipe(model.train(), x, y, moment(step))
    assert int(source[1].num_batches_tracked) == 0


def test_mistakes_are_explained():
    with pytest.raises(st.UserError, match="alpha is 1"):
        EnsembleAT(alpha=1.0)
    with pytest.raises(st.UserError, match="training mode"):
        EnsembleAT(sources=(nn.Dropout(),))
