"""ZOO: slopes value by value, and a change near the smallest."""

import pytest
import torch

import struthio as st
from struthio.attacks.queries.zoo import ZOO
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import exact_distance, linear_model, small_inputs


def near(n=4):
    model, x = linear_model(48, seed=3), small_inputs(n, 4, seed=3)
    with torch.no_grad():
        model.bias += torch.tensor([-1.0, 1.0]) - model(x).mean(0)
    return model, x, model(x).argmax(1)


@pytest.mark.parametrize("solver", ["adam", "newton"])
def test_linear(solver):
    """Within 1.05 of the exact distance, limits and all; Adam's last steps may be as long as half its first."""
    model, x, labels = near()
    distance = exact_distance(model, x, labels, 2)
    attack = ZOO(queries=30_000, rounds=8, coordinates=24, solver=solver, step=0.005 if solver == "adam" else 0.1)
    result = attack(model, x, st.Untargeted(labels), st.L2())
    assert result.success.all()
    assert (result.size <= 1.05 * distance + (0.0025 if solver == "adam" else 0)).all()
    assert (result.size >= 0.999 * distance).all()


def test_slope_and_bend():
    """At a limit, where only one side can be asked about, the slope is right all the same."""
    model, x, labels = near(2)
    x[:, 0, 0, 0] = 0.0
    task = Task.whole(Metered(model, 2), x, st.Untargeted(labels), st.L2(), RowGenerator.seeded(0, torch.arange(2)))
    place, c = torch.tensor([[0, 5, 17], [0, 5, 40]]), torch.tensor([2.0, 3.0]).double()
    slope, bend, won = ZOO()._measure(task, Smallest(x), torch.zeros_like(x), place, c)
    margin = (model.weight[1 - labels] - model.weight[labels]).detach()
    torch.testing.assert_close(slope, -c[:, None] * margin.gather(1, place), rtol=1e-6, atol=1e-6)
    assert (bend - 2).abs().max() < 1e-2
    assert not won.any()


def test_steps_are_longer_where_values_are_drawn_seldom():
    attack = ZOO()
    assert [attack._step(draws) for draws in (490, 30, 3, 0.5)] == pytest.approx([0.01, 0.01, 0.1, 0.3])
    assert ZOO(step=0.02)._step(3) == 0.02


def test_importance_draws_what_moved():
    model, x, labels = near(2)
    task = Task.whole(Metered(model, 2), x, st.Untargeted(labels), st.L2(), RowGenerator.seeded(0, torch.arange(2)))
    z = torch.zeros_like(x)
    z[:, 0] = 0.1
    drawn = {}
    for importance in (False, True):
        attack = ZOO(importance=importance)
        state = attack._start(task, torch.ones(2).double())
        drawn[importance] = sum(int((attack._draw(task, z, state, 8) < 16).sum()) for _ in range(50)) / 800
    assert 0.25 < drawn[False] < 0.42
    assert drawn[True] > 0.9
