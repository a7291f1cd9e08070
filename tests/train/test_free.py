"""Free adversarial training: the paper's loop written out, batches in parts, and going on from a checkpoint."""

import copy

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load, save
from torch import nn

import struthio as st
from struthio.checks import UserError
from struthio.testing import small_inputs
from struthio.train.free import CHANGE, FreeAT
from tests.train.steps import moment, same

EPS = 0.1


def net():
    torch.manual_seed(1)
    return nn.Sequential(nn.Flatten(), nn.Linear(48, 12), nn.Tanh(), nn.Linear(12, 5)).double()


def batches():
    x, y = small_inputs(20, side=4), torch.arange(20) % 5
    return [(x[rows], y[rows]) for rows in torch.arange(20).split(8)]  # the last one is smaller


def trained(recipe, parts=1, stop=None, model=None, kept=None, first=0):
    """SGD over all batches and replays; with `stop`, only up to this step."""
    model, kept = model or net(), {} if kept is None else kept
    optimizer, step = torch.optim.SGD(model.parameters(), 0.5), 0
    for x, y in batches() * 2:
        for _ in range(recipe.replays):
            if first <= step and (stop is None or step < stop):
                optimizer.zero_grad()
                for rows in torch.arange(len(x)).tensor_split(parts):
                    loss = recipe(model, x[rows], y[rows], moment(len(rows), step, kept=kept))
                    (loss * len(rows) / len(x)).backward()
                optimizer.step()
            step += 1
    return model, kept


def test_agrees_with_the_published_loop():
    model, delta = net(), torch.zeros(8, 3, 4, 4, dtype=torch.float64)
    optimizer = torch.optim.SGD(model.parameters(), 0.5)
    for x, y in batches() * 2:
        for _ in range(3):
            now = delta[: len(x)].clone()
            now = ((x + now).clamp(0, 1) - x).requires_grad_()
            optimizer.zero_grad()
            F.cross_entropy(model(x + now), y).backward()
            optimizer.step()
            moved = (now.detach() + EPS * now.grad.sign()).clamp(-EPS, EPS)
            delta[: len(x)] = (x + moved).clamp(0, 1) - x
    got, kept = trained(FreeAT(st.Linf(EPS), replays=3))
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(got.parameters(), model.parameters(), strict=True))
    assert torch.allclose(kept[CHANGE], delta, atol=1e-12)


def test_a_batch_in_parts_takes_the_same_steps():
    recipe = FreeAT(st.Linf(EPS), replays=3, step=0.4)
    (whole, kept), (parts, kept_too) = trained(recipe), trained(recipe, parts=3)
    assert torch.allclose(kept[CHANGE], kept_too[CHANGE], atol=1e-12)
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(whole.parameters(), parts.parameters(), strict=True))


@pytest.mark.parametrize("stop", [1, 4, 9, 13])
def test_goes_on_from_a_checkpoint_bit_for_bit(stop):
    """In the middle of the replays of a batch as well."""
    recipe = FreeAT(st.Linf(EPS), replays=3, step=0.4)
    model, kept = trained(recipe, stop=stop)
    model, _ = trained(recipe, model=copy.deepcopy(model), kept=load(save(kept)), first=stop)
    assert same(model.parameters(), trained(recipe)[0].parameters())


def test_asking_for_a_loss_moves_nothing():
    recipe, kept, (x, y) = FreeAT(st.Linf(EPS)), {}, batches()[0]
    recipe(net(), x, y, moment(8, kept=kept))
    assert not kept


def test_inputs_of_another_shape_begin_anew():
    recipe, kept, (x, y) = FreeAT(st.Linf(EPS)), {}, batches()[0]
    recipe(net(), x, y, moment(8, kept=kept)).backward()
    recipe(net(), x.reshape(8, 48), y, moment(8, 1, kept=kept)).backward()
    assert kept[CHANGE].shape == (8, 48)


def test_an_overflow_in_half_precision_does_not_stay():
    recipe, kept, (x, y) = FreeAT(st.L2(EPS)), {}, batches()[0]
    loss = recipe(net(), x, y, moment(8, kept=kept))
    (loss * torch.inf).backward()
    assert kept[CHANGE].isfinite().all()


def test_options_that_cannot_be_meant():
    with pytest.raises(UserError, match="replays"):
        FreeAT(replays=0)
    with pytest.raises(UserError, match="step"):
        FreeAT(step=0.0)
