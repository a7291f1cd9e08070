"""NES that sees the likeliest classes alone: exact distances, targets, and nothing of what is hidden."""

import math
from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.attacks.queries.nes_partial import PartialNES
from struthio.testing import exact_distance, linear_model, small_inputs

QUICK = PartialNES(queries=1500, samples=10, shrink=0.2)


def setting(classes=2, n=4):
    model, x = linear_model(48, classes, seed=3), small_inputs(n, 4, seed=3) * 0.4 + 0.3
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        return model, x, model(x).argmax(1)


@pytest.mark.parametrize(("kind", "share"), [(st.Linf, 1.5), (st.L2, 1.2)])
def test_linear(kind, share):
    """Signs of noisy slopes come near more slowly than the slopes."""
    model, x, labels = setting()
    distance = exact_distance(model, x, labels, kind.p)
    result = QUICK(model, x, st.Untargeted(labels), kind(share * distance))
    assert result.success.all()
    assert (result.forwards <= 1501).all()
    lost = PartialNES(queries=150, samples=10)(model, x, st.Untargeted(labels), kind(0.98 * distance))
    assert not lost.success.any()
    assert (lost.forwards <= 151).all()


@pytest.mark.parametrize("shown", [1, 3])
def test_nothing_of_what_is_hidden_is_used(shown):
    """The same probability for all hidden classes changes nothing."""
    model, x, labels = setting(classes=6)

    def hiding(x):
        likely = model(x).softmax(1)
        last = likely.topk(shown, dim=1).values[:, -1:]
        seen = likely.where(likely >= last, 0.0)
        return seen.where(likely >= last, (1 - seen.sum(1, keepdim=True)) / (6 - shown)).log()

    attack = PartialNES(queries=120, shown=shown, samples=10)
    goal, threat = st.Untargeted(labels), st.Linf(exact_distance(model, x, labels, math.inf))
    plain, hidden = (attack(of, x, goal, threat) for of in (model, hiding))
    torch.testing.assert_close(plain.x_adv, hidden.x_adv)
    assert torch.equal(plain.forwards, hidden.forwards)


def test_a_hidden_class_is_as_likely_as_the_last_that_is_shown():
    outputs = torch.tensor([[0.5, 0.3, 0.2], [0.2, 0.3, 0.5], [0.3, 0.5, 0.2]]).log()
    likely, shown = PartialNES(shown=2)._likely(outputs, torch.tensor([0, 0, 0]))
    torch.testing.assert_close(likely.exp(), torch.tensor([0.5, 0.3, 0.3]))
    assert shown.tolist() == [True, False, True]


def test_a_target_is_reached_from_a_start():
    model, x, labels = setting(classes=3)
    targets = (labels + 1) % 3
    start = small_inputs(200, 4, seed=9)
    with torch.no_grad():
        classes = model(start).argmax(1)
    start = torch.stack([start[(classes == target).nonzero()[0, 0]] for target in targets])
    far = (start - x).flatten(1).norm(dim=1)
    result = replace(QUICK, start=start)(model, x, st.Targeted(targets, labels), st.L2(0.7 * far))
    assert result.success.all()


def test_options_that_cannot_be_meant():
    for wrong in ({"shown": 0}, {"halvings": 1.5}, {"shrink": 0.0}, {"sigma": -1.0}):
        with pytest.raises(st.UserError):
            PartialNES(**wrong)
    model, x, labels = setting()
    with pytest.raises(st.UserError):
        QUICK(model, x, st.Untargeted(labels), st.Linf())
