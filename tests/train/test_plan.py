"""Rates in closed form, batches, augmentation, and averaged weights."""

import math

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.train import Evaluation, Plan
from struthio.train.batches import augmented, held_back, in_batches, moved, numbers
from struthio.train.weights import Average, fresh_statistics


@pytest.mark.parametrize(
    ("plan", "rates"),
    [
        (Plan(lr=2, schedule="constant"), {0: 2, 0.5: 2, 0.99: 2}),
        (Plan(lr=2), {0: 2, 0.5: 1, 0.25: 1 + math.sqrt(0.5)}),
        (Plan(lr=2, schedule="piecewise"), {0: 2, 0.49: 2, 0.5: 0.2, 0.75: 0.02}),
        (Plan(lr=2, schedule="cyclic"), {0: 0, 0.2: 1, 0.4: 2, 0.7: 1}),
        (Plan(lr=2, schedule="constant", warmup=0.1), {0: 0, 0.05: 1, 0.1: 2, 0.5: 2}),
    ],
)
def test_rates(plan, rates):
    for done, rate in rates.items():
        assert plan.rate(done) == pytest.approx(rate)


@pytest.mark.parametrize(
    "options",
    [
        {"epochs": 0}, {"batch": 1.5}, {"optimizer": "lion"}, {"schedule": "step"}, {"lr": 0}, {"momentum": 1},
        {"clip": 0}, {"milestones": (100,)}, {"peak": 1}, {"nesterov": True, "optimizer": "adam"}, {"average": "mean"},
        {"shift": -1}, {"precision": "half"},
    ],
)  # fmt: skip
def test_plans_that_cannot_be_meant(options):
    with pytest.raises(UserError, match=next(iter(options))):
        Plan(**options)
    with pytest.raises(UserError, match="patience"):
        Evaluation(patience=0)


def test_an_epoch_is_every_row_once_in_an_order_of_its_own():
    ids = torch.arange(7, 110)
    first, second = (in_batches(ids, 25, 0, epoch) for epoch in (0, 1))
    assert torch.equal(torch.cat(first).sort().values, ids)
    assert [len(rows) for rows in first] == [21, 21, 21, 20, 20]
    assert not torch.equal(first[0], second[0])
    train, held = held_back(ids, 30, 0)
    assert len(held) == 20  # no more than a fifth
    assert torch.equal(torch.cat([train, held]).sort().values, ids)


def test_pictures_move_and_turn_by_row():
    x = torch.rand(6, 2, 5, 4, generator=torch.Generator().manual_seed(0))
    still = moved(x, torch.full((6, 2), 1), 1)
    assert torch.equal(still, x)
    down = moved(x, torch.tensor([[0, 1]] * 6), 1)
    assert torch.equal(down[:, :, 1:], x[:, :, :-1])
    assert not down[:, :, 0].any()
    drawn = numbers(0, torch.arange(6), 2, 0)
    turned = augmented(x, drawn[:], flip=True)
    same = (turned == x).flatten(1).all(1)
    assert 0 < same.sum() < 6
    assert torch.equal(turned[~same], x[~same].flip(-1))
    whole = augmented(x, drawn[:], shift=2, flip=True)
    assert torch.equal(whole[[4, 1]], augmented(x[[4, 1]], drawn[torch.tensor([4, 1])], shift=2, flip=True))


def test_averages_in_closed_form():
    net = nn.Linear(1, 1, bias=False)
    values = [1.0, 4.0, 10.0]
    ema, swa = Average(net), Average(net)
    expected = net.weight.item()
    for n, value in enumerate(values):
        nn.init.constant_(net.weight, value)
        ema.ema(net, 0.3)
        swa.swa(net)
        kept = min(0.3, (1 + n) / (10 + n))
        expected = kept * expected + (1 - kept) * value
    assert swa.model.weight.item() == pytest.approx(5)
    assert ema.model.weight.item() == pytest.approx(expected)


def test_statistics_are_those_of_all_batches():
    net = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(0.5)).eval()
    x = torch.rand(40, 2)
    with fresh_statistics(net) as any_there:
        assert any_there
        for part in x.split(10):
            net(part)
    torch.testing.assert_close(net[0].running_mean, x.mean(0))
    assert net[0].momentum == 0.1
    assert not net[1].training
