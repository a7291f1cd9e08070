"""Forging: a closed form on a linear model, one Adam step by hand, then digits from noise, grey and pictures."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.attacks.forging import OBJECTIVES
from struthio.data.digits import digits
from struthio.testing import small_inputs, small_net


def linear(classes=3, d=6):
    model = nn.Linear(d, classes).double()
    model.weight.data = 4 * torch.randn(classes, d, generator=torch.Generator().manual_seed(0)).double()
    model.bias.data.zero_()
    return model


def test_objectives_are_distances_from_the_one_hot_target():
    outputs, wanted = torch.tensor([[0.7, 0.2, 0.1]]).log(), torch.tensor([[0.0, 1, 0]])
    assert OBJECTIVES["l2"](outputs, wanted).item() == pytest.approx(0.49 + 0.64 + 0.01)
    assert OBJECTIVES["l1"](outputs, wanted).item() == pytest.approx(1.6)
    assert OBJECTIVES["cross-entropy"](outputs, wanted).item() == pytest.approx(-math.log(0.2))


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_agrees_with_torch_adam(objective):
    """Nine steps of torch.optim.Adam, with clipping, on a sum whose rows do not touch one another."""
    model, start = small_net(5), small_inputs(3, 5)
    targets, weight = torch.tensor([0, 1, 2]), 0.05
    x = start.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], 0.02)
    for _ in range(9):
        wanted = F.one_hot(targets, 5).double()
        loss = OBJECTIVES[objective](model(x), wanted).sum() + weight * (x - start).square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        x.data.clamp_(0, 1)
    found = st.forge(model, targets, start, objective=objective, closeness=weight, steps=9, lr=0.02, confidence=1.0)
    with torch.no_grad():
        sure = model(x).softmax(1).gather(1, targets[:, None]).squeeze(1)
    assert (found.confidence >= sure - 1e-9).all()
    last = found.steps == 9
    assert last.any()
    torch.testing.assert_close(found.x[last], x.detach()[last], rtol=0, atol=1e-6)
    assert found.forwards.tolist() == [10] * 3
    assert found.backwards.tolist() == [9] * 3


@pytest.mark.parametrize("start", ["noise", "grey"])
def test_from_nothing(start):
    """The cross-entropy leads a linear model to its target from any start, and rows that are there cost no more."""
    found = st.forge(
        linear().float(), torch.tensor([0, 1, 2]), start, shape=(6,), objective="cross-entropy", lr=0.05, steps=400,
        confidence=0.6,
    )  # fmt: skip
    assert found.success.all()
    assert (found.confidence > 0.6).all()
    assert torch.equal(found.forwards, found.steps + 1)
    assert torch.equal(found.backwards, found.forwards)
    assert found.x.min() >= 0
    assert found.x.max() <= 1
    if start == "grey":
        assert (found.start == 0.5).all()


def test_each_row_is_forged_alone():
    model, targets = small_net(5).float(), torch.tensor([4, 0, 2, 1])
    rows = st.RowGenerator.seeded(3, torch.tensor([9, 4, 7, 5]))
    whole = st.forge(model, targets, shape=(3, 5, 5), steps=30, generator=rows)
    for row in range(4):
        part = st.RowGenerator.seeded(3, torch.tensor([9, 4, 7, 5]))[torch.tensor([row])]
        one = st.forge(model, targets[row : row + 1], shape=(3, 5, 5), steps=30, generator=part)
        torch.testing.assert_close(one.x[0], whole.x[row], rtol=0, atol=1e-5)
        assert one.steps[0] == whole.steps[row]


def test_digits_of_every_class_from_noise():
    model = st.load("zoo:digits-cnn")
    found = st.forge(model, torch.arange(10), objective="cross-entropy")
    assert found.success.all()
    assert found.steps.max() < 100
    with torch.no_grad():
        assert (model(found.x).softmax(1).diagonal() > 0.9).all()


def test_closeness_keeps_to_the_picture():
    """The heavier lambda, the nearer the picture; the cross-entropy still turns every digit into the next one."""
    model, (x, y) = st.load("zoo:digits-cnn"), digits("test")
    x, targets = x[:20], (y[:20] + 1) % 10
    sizes = []
    for closeness in (0.0, 0.03, 0.1):
        found = st.forge(model, targets, x, objective="cross-entropy", closeness=closeness)
        assert torch.equal(found.start, x)
        assert found.success.all()
        sizes.append(found.distance(2).mean())
    assert sizes[0] > sizes[1] > sizes[2]


def test_one_picture_for_several_targets_and_one_without_a_batch():
    model, picture = st.load("zoo:digits-cnn"), digits("test")[0][0]
    several = st.forge(model, torch.tensor([1, 2]), picture[None], objective="cross-entropy")
    alone = st.forge(model, 1, picture, objective="cross-entropy")
    assert several.success.all()
    torch.testing.assert_close(alone.x[0], several.x[0], rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"target": 7, "shape": (6,)}, "knows classes 0 to 2"),
        ({"target": 0}, "name their shape"),
        ({"target": 0, "start": "black", "shape": (6,)}, "'noise', 'grey'"),
        ({"target": 0, "objective": "l3", "shape": (6,)}, "objective"),
        ({"target": 0, "closeness": -1.0, "shape": (6,)}, "closeness"),
        ({"target": 0, "confidence": 1.5, "shape": (6,)}, "confidence"),
        ({"target": 0, "steps": 0, "shape": (6,)}, "steps"),
        ({"target": torch.tensor([0, 1, 2]), "start": torch.zeros(2, 6)}, "3 targets for 2 pictures"),
        ({"target": 0, "start": torch.full((1, 6), 2.0)}, "allows"),
    ],
)
def test_what_cannot_be_meant(options, words):
    with pytest.raises(st.UserError, match=words):
        st.forge(linear().float(), **options)


def test_a_model_without_gradient():
    with pytest.raises(st.UserError, match="no gradient"):
        st.forge(st.labels_only(linear().float()), 0, shape=(6,))
