"""Few pixels by differential evolution: whole places, colours between the limits, one generation at a time."""

import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.attacks.climb import changeable
from struthio.attacks.places import by_place
from struthio.attacks.queries.few_pixels import FewPixels, _first, _painted
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import LinearModel, linear_model, small_inputs


def a_task(threat, n=4, side=5):
    x = small_inputs(n, side)
    goal, generator = st.Untargeted(torch.zeros(n, dtype=torch.int64)), RowGenerator.seeded(0, torch.arange(n))
    return Task.whole(Metered(linear_model(3 * side**2), n), x, goal, threat, generator)


def paint(task, pool):
    return _painted(task, pool, by_place(task.threat, changeable(task)))


def test_a_candidate_is_painted_as_it_says():
    task = a_task(st.L0(2, unit="pixel"))
    pool = torch.tensor([[1.0, 3.0, 0.1, 0.2, 0.3], [4.0, 0.0, 1.0, 0.5, 0.0]]).double().expand(1, 4, 2, 5)
    seen = task.see(paint(task, pool)[0])
    torch.testing.assert_close(seen[:, :, 1, 3], torch.tensor([0.1, 0.2, 0.3]).double().expand(4, 3))
    torch.testing.assert_close(seen[:, :, 4, 0], torch.tensor([1.0, 0.5, 0.0]).double().expand(4, 3))
    assert ((seen != task.x).any(1).sum((1, 2)) == 2).all()
    values = a_task(st.L0(1))
    seen = values.see(paint(values, torch.tensor([[2.0, 1.0, 3.0, 0.7]]).double().expand(1, 4, 1, 4))[0])
    torch.testing.assert_close(seen[:, 2, 1, 3], torch.full((4,), 0.7).double())
    assert ((seen != values.x).flatten(1).sum(1) == 1).all()


@pytest.mark.parametrize("unit", ["pixel", "feature"])
def test_every_generation_stays_inside(unit):
    """Places are whole and inside, colours between the limits, rows with smaller radii have fewer pixels."""
    radii = torch.tensor([3.0, 1.0, 2.0, 0.0], dtype=torch.float64)
    task, attack = a_task(st.L0(radii, unit=unit)), FewPixels(population=30)
    pool = _first(task, 30)
    sides = torch.tensor([5, 5] if unit == "pixel" else [3, 5, 5])
    for _ in range(4):
        places, colours = pool[..., : len(sides)], pool[..., len(sides) :]
        assert torch.equal(places, places.round())
        assert (places >= 0).all()
        assert (places < sides).all()
        assert (places == sides - 1).any()
        assert (colours >= 0).all()
        assert (colours <= 1).all()
        for z in paint(task, pool.transpose(0, 1)):
            assert (task.threat.size(task.x, task.see(z)) <= radii).all()
        pool = attack._breed(task, pool)


def test_children_have_three_parents_that_differ():
    task, attack = a_task(st.L0(1)), FewPixels(population=4, share=0.5)
    pool = torch.zeros(4, 4, 1, 4, dtype=torch.float64)
    pool[:, :, 0, 3] = torch.tensor([0.0, 0.1, 0.3, 0.7])
    children = torch.cat([attack._breed(task, pool)[:, :, 0, 3].flatten() for _ in range(20)])
    possible = {
        round(min(max(a + 0.5 * (b - c), 0), 1), 6)
        for a in (0.0, 0.1, 0.3, 0.7) for b in (0.0, 0.1, 0.3, 0.7) for c in (0.0, 0.1, 0.3, 0.7) if len({a, b, c}) == 3
    }  # fmt: skip
    assert {round(value, 6) for value in children.tolist()} == possible


def test_the_best_pixel_is_found():
    """On a linear model one value at its limit gains most; a few generations find it in every row."""
    model, x = linear_model(48, seed=2), small_inputs(6, 4, seed=2)
    slope = (model.weight[0] - model.weight[1]).detach()
    gains = torch.where(slope > 0, slope * (1 - x.flatten(1)), -slope * x.flatten(1)).amax(1)
    for share, wins in ((0.98, True), (1.02, False)):
        rows = []
        for row in range(6):
            with torch.no_grad():
                score = model(x[row : row + 1])[0]
                shift = (gains[row] * share - (score[1] - score[0])) / 2
            shifted = LinearModel(model.weight.detach(), (model.bias + torch.tensor([-shift, shift])).detach())
            attack = FewPixels(population=400, generations=15)
            rows.append(attack(shifted, x[row : row + 1], st.Untargeted(torch.tensor([1])), st.L0(1)).success.item())
        assert all(rows) if wins else not any(rows)


def test_cost_is_whole_generations():
    task = a_task(st.L0(1))
    model = linear_model(75)
    with torch.no_grad():
        model.bias[:] = torch.tensor([100.0, -100.0])
    result = FewPixels(population=10, generations=3)(model, task.x, task.goal, st.L0(1))
    assert result.forwards.tolist() == [10 * 4 + 1] * 4


def test_too_few_parents_are_refused():
    with pytest.raises(UserError, match="at least 4"):
        FewPixels(population=3)
