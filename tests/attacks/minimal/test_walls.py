"""The nearest point of a plane within limits, and the walls between classes."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks.minimal.walls import look
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs
from struthio.testing.models import smallest_change
from struthio.threats.projections import onto_plane


def planes(seed, n=20, d=30):
    generator = torch.Generator().manual_seed(seed)
    slope = torch.randn(n, d, generator=generator).double()
    low, high = -torch.rand(n, d, generator=generator).double(), torch.rand(n, d, generator=generator).double()
    slope[:, :3], low[:, 5], high[:, 5] = 0, 0, 0
    most = torch.maximum(slope * high, slope * low).sum(1)
    share = torch.linspace(0.05, 0.95, n).double()
    return slope, most * share, (low, high)


@pytest.mark.parametrize("p", [1, 2, math.inf])
@pytest.mark.parametrize("seed", range(3))
def test_the_shortest_way_to_a_plane(seed, p):
    slope, need, (low, high) = planes(seed)
    step = onto_plane(slope, need, (low, high), p)
    torch.testing.assert_close((slope * step).sum(1), need)
    assert (step >= low).all()
    assert (step <= high).all()
    for row in range(len(slope)):
        way = torch.where(slope[row] > 0, high[row], -low[row])
        exact = smallest_change(slope[row], float(need[row]), way, p)
        assert float(torch.linalg.vector_norm(step[row], ord=p)) == pytest.approx(exact, rel=1e-9)


@pytest.mark.parametrize("p", [1, 2, math.inf])
def test_the_other_side_and_no_limits(p):
    slope, need, (low, high) = planes(4)
    back = onto_plane(slope, -need, (-high, -low), p)
    torch.testing.assert_close(back, -onto_plane(slope, need, (low, high), p))
    dual = {1: math.inf, 2: 2, math.inf: 1}[p]
    free = onto_plane(slope, need, None, p)
    torch.testing.assert_close(
        torch.linalg.vector_norm(free, ord=p, dim=1), need / torch.linalg.vector_norm(slope, ord=dual, dim=1)
    )


def test_the_fewest_values_to_a_plane():
    slope, need, (low, high) = planes(6)
    step = onto_plane(slope, need, (low, high), 0)
    torch.testing.assert_close((slope * step).sum(1), need)
    gains = torch.maximum(slope * high, slope * low).sort(descending=True).values.cumsum(1)
    assert (step != 0).sum(1).tolist() == ((gains < need[:, None]).sum(1) + 1).tolist()
    assert ((onto_plane(slope, need, None, 0) != 0).sum(1) == 1).all(), "without limits one is enough"


@pytest.mark.parametrize("p", [0, 1, 2, math.inf])
def test_what_cannot_be_reached_is_approached(p):
    slope, need, (low, high) = planes(5)
    furthest = torch.where(slope > 0, high, low) * (slope != 0)
    torch.testing.assert_close(onto_plane(slope, 100 * need + 100, (low, high), p), furthest)
    assert not onto_plane(torch.zeros_like(slope), need, (low, high), p).any()


def test_the_walls_of_a_linear_model_are_its_differences():
    model, x = linear_model(48, classes=4), small_inputs(3, 4)
    labels = model(x).argmax(1)
    meter = Metered(model, 3)
    task = Task.whole(meter, x, st.Untargeted(labels), st.L2(), RowGenerator.seeded(0, torch.arange(3)))
    walls = look(task, torch.zeros_like(x), 2)
    outputs = model(x)
    assert walls.classes.tolist() == outputs.topk(3, dim=1).indices[:, 1:].tolist()
    torch.testing.assert_close(walls.heights, outputs.topk(3, dim=1).values[:, 1:] - outputs.amax(1, keepdim=True))
    wanted = model.weight[walls.classes] - model.weight[labels][:, None]
    torch.testing.assert_close(walls.slopes.flatten(2), wanted.detach())
    assert meter.forwards.tolist() == [1, 1, 1]
    assert meter.backwards.tolist() == [2, 2, 2]
