"""SimBA: each direction once, up and down, in the order of the paper."""

import pytest
import torch

import struthio as st
from struthio.attacks.queries.simba import SimBA, cosines
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs, small_net


def a_task(x, threat=None, model=None):
    goal, generator = (
        st.Untargeted(torch.zeros(len(x), dtype=torch.int64)),
        RowGenerator.seeded(0, torch.arange(len(x))),
    )
    return Task.whole(Metered(model, len(x)), x, goal, threat or st.L2(), generator)


def test_cosines_are_orthonormal_and_in_order():
    basis = cosines(9, torch.zeros(1, dtype=torch.float64))
    torch.testing.assert_close(basis @ basis.T, torch.eye(9, dtype=torch.float64))
    turns = (basis.sign().diff(dim=1) != 0).sum(1)
    assert turns.tolist() == list(range(9))  # each cosine crosses zero once more than the last


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_directions_are_a_basis(basis):
    x = small_inputs(2, 4)
    task, attack = a_task(x), SimBA(basis=basis)
    order = attack.start(task)["order"]
    assert torch.equal(order.sort(1).values, torch.arange(48).expand(2, 48))
    ways = torch.stack([attack._direction(task, order[:, turn]) for turn in range(48)], 1).flatten(2)
    torch.testing.assert_close(ways @ ways.transpose(1, 2), torch.eye(48, dtype=torch.float64).expand(2, 48, 48))
    assert not torch.equal(order[0], order[1])


def test_low_frequencies_come_first():
    """Bands as wide as the first, in all channels; within a band by chance."""
    x = small_inputs(3, 8)
    order = SimBA(band=0.25).start(a_task(x))["order"]
    frequency = torch.maximum(order % 64 // 8, order % 8)
    assert (frequency[:, : 3 * 4] < 2).all()
    assert (frequency[:, 3 * 4 : 3 * 16] < 4).all()
    assert ((frequency // 2).diff(dim=1) >= 0).all()
    assert (frequency.diff(dim=1) < 0).any()


def test_linear():
    """On a linear model each direction is taken with the sign of its slope, and costs one question or two."""
    model, x = linear_model(12), torch.full((4, 3, 2, 2), 0.5, dtype=torch.float64)
    with torch.no_grad():
        model.bias[:] = torch.tensor([5.0, -5.0])
    labels = torch.zeros(4, dtype=torch.int64)
    slope = (model.weight[1] - model.weight[0]).detach()
    # One question about the start, one about each step up, and one more about each step down.
    attack = SimBA(queries=1 + 12 + int((slope < 0).sum()), step=0.01, basis="pixel")
    moved = (attack(model, x, st.Untargeted(labels), st.L2()).x_adv - x).flatten(1)
    torch.testing.assert_close(moved, 0.01 * slope.sign().expand(4, 12), atol=1e-9, rtol=0)


def test_what_cannot_move_is_passed_over():
    """On black the step down costs no question, and what a mask protects comes last."""
    model, x = linear_model(12), torch.zeros(2, 3, 2, 2, dtype=torch.float64)
    with torch.no_grad():
        model.weight[1], model.weight[0] = -1.0, 1.0
        model.bias[:] = torch.tensor([5.0, -5.0])
    mask = torch.zeros(3, 2, 2, dtype=torch.bool)
    mask[0] = True
    attack = SimBA(basis="pixel")
    task = a_task(x, st.Masked(st.L2(), mask), model)
    assert (attack.start(task)["order"][:, :4] < 4).all()
    z, state = torch.zeros_like(x), attack.learn(attack.start(task), torch.ones(2, dtype=torch.bool))
    up, state = attack.propose(task, z, state, 1)
    state = attack.learn(state, torch.zeros(2, dtype=torch.bool))
    second, _ = attack.propose(task, z, state, 2)
    assert (up.sum((1, 2, 3)) - 0.2).abs().max() < 1e-9
    assert (second.sum((1, 2, 3)) - 0.2).abs().max() < 1e-9
    assert ((up != 0) != (second != 0)).flatten(1).sum(1).tolist() == [2, 2]


def test_radius_is_a_cap():
    model, x = linear_model(12), torch.full((3, 3, 2, 2), 0.5, dtype=torch.float64)
    with torch.no_grad():
        model.bias[:] = torch.tensor([5.0, -5.0])
    labels = torch.zeros(3, dtype=torch.int64)
    result = SimBA(queries=200, basis="dct")(model, x, st.Untargeted(labels), st.L2(0.5))
    assert (result.size <= 0.5 + 1e-6).all()
    assert (result.size > 0.4).all()


@pytest.mark.parametrize("basis", ["pixel", "dct"])
def test_as_a_plain_loop(basis):
    """Guo et al., 2019, algorithm 1, on one picture at a time, with the order of directions that the row drew."""
    model, x = small_net(8), small_inputs(5, 8)
    labels = model(x).argmax(1)
    attack = SimBA(queries=70, step=0.1, basis=basis)
    result = attack(model, x, st.Untargeted(labels), st.L2())
    assert 0 < result.success.sum() < 5
    margin = lambda point, row: float(st.Margin().away(model(point[None]), labels[row : row + 1]).detach())  # noqa: E731
    for row in range(5):
        task = Task.whole(
            Metered(model, 1), x[row : row + 1], st.Untargeted(labels[row : row + 1]), st.L2(),
            RowGenerator.seeded(0, torch.tensor([row])),
        )  # fmt: skip
        order, best = attack.start(task)["order"][0], x[row]
        highest, asked, turn = margin(best, row), 1, 0
        while asked < 70 and highest <= 0:
            way = attack._direction(task, order[turn : turn + 1])[0] * 0.1
            turn += 1
            for sign in (1, -1):
                point = (best + sign * way).clamp(0, 1)
                if torch.equal(point, best) or asked == 70:
                    continue
                score, asked = margin(point, row), asked + 1
                if score > highest:
                    best, highest = point, score
                    break
        torch.testing.assert_close(result.x_adv[row], best, atol=1e-12, rtol=0)
        assert int(result.forwards[row]) == asked + 1
