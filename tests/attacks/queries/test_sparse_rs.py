"""Sparse-RS: as many pixels as allowed, in corner colours, some of them exchanged at a time."""

import pytest
import torch

import struthio as st
from struthio.attacks.places import by_place, lots
from struthio.attacks.queries.sparse_rs import SparseRS
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs


def a_task(threat, n=5, side=6):
    x = small_inputs(n, side)
    goal, generator = st.Untargeted(torch.zeros(n, dtype=torch.int64)), RowGenerator.seeded(0, torch.arange(n))
    return Task.whole(Metered(linear_model(3 * side**2), n), x, goal, threat, generator)


@pytest.mark.parametrize("unit", ["pixel", "feature"])
def test_proposals(unit):
    """Every proposal holds exactly eps changes, all to a limit, of which the schedule's share is new."""
    task, attack = a_task(st.L0(10, unit=unit)), SparseRS(queries=10_000)
    state = attack.start(task)
    z, _ = attack.propose(task, task.threat.zero(task.x), state, 0)
    assert (task.threat.size(task.x, task.see(z)) == 10).all()
    for query, share in ((1, 0.3), (30, 0.15), (300, 0.06), (5000, 0.025)):
        proposal, _ = attack.propose(task, z, state, query)
        seen = task.see(proposal)
        assert (task.threat.size(task.x, seen) == 10).all()
        assert ((seen == 0) | (seen == 1) | (seen == task.x)).all()
        before, after = (by_place(task.threat, point != 0).any(1) for point in (z, proposal))
        assert ((after & ~before).sum(1) <= max(1, round(10 * share))).all()
        assert (proposal != z).flatten(1).any(1).all()


def test_few_places_and_none():
    """More pixels allowed than there are, or none, are no reason to fail."""
    for eps, expected in ((100, 36), (0, 0)):
        task, attack = a_task(st.L0(eps, unit="pixel")), SparseRS()
        state, z = attack.start(task), task.threat.zero(task.x)
        for query in range(3):
            z, _ = attack.propose(task, z, state, query)
            assert (task.threat.size(task.x, task.see(z)) == expected).all()


def test_radii_differ_by_row_and_masks_are_kept():
    radii = torch.tensor([1.0, 2.0, 3.0, 4.0, 0.0], dtype=torch.float64)
    mask = torch.zeros(3, 6, 6, dtype=torch.bool)
    mask[:, :2] = True
    task, attack = a_task(st.Masked(st.L0(radii, unit="pixel"), mask)), SparseRS()
    state, z = attack.start(task), task.threat.zero(task.x)
    for query in range(4):
        z, _ = attack.propose(task, z, state, query)
        assert torch.equal(task.threat.size(task.x, task.see(z)), radii)


def test_lots():
    generator = torch.Generator().manual_seed(0)
    lot, among = torch.rand(2, 9, generator=generator), torch.rand(2, 9, generator=generator) < 0.6
    places, meant = lots(lot, among, torch.tensor([[2], [9]]))
    assert places.shape == (2, 9)
    assert meant.sum(1).tolist() == [2, int(among[1].sum())]
    for row in range(2):
        chosen = places[row][meant[row]]
        assert among[row, chosen].all()
        assert torch.equal(lot[row, chosen], lot[row][among[row]].sort().values[: len(chosen)])


def test_the_best_pixels_are_found():
    """On a linear model the least number of values that suffices is known: the largest gains first."""
    model, x = linear_model(48, seed=2), small_inputs(6, 4, seed=2)
    with torch.no_grad():
        model.bias += torch.tensor([-6.0, 6.0]) - model(x).mean(0)
    labels, slope = model(x).argmax(1), (model.weight[0] - model.weight[1]).detach()
    assert (labels == 1).all()
    flat = x.flatten(1)
    gains = torch.where(slope > 0, slope * (1 - flat), -slope * flat).sort(1, descending=True).values.cumsum(1)
    scores = model(x)
    least = (gains < (scores[:, 1] - scores[:, 0])[:, None]).sum(1) + 1.0
    assert least.min() >= 2
    goal = st.Untargeted(labels)
    assert not SparseRS(queries=300)(model, x, goal, st.L0(least - 1)).success.any()
    assert SparseRS(queries=3000)(model, x, goal, st.L0(least + 1)).success.all()
