"""Sparse-RS with patches: its schedule, what a proposal changes, and the best patch on a linear model."""

import pytest
import torch

import struthio as st
from struthio import SparseRSPatch
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.testing import linear_model, small_inputs


def lineup(threat, n=8, side=8, channels=3):
    """A task on a model that is never won, the model's last question, and the scores' slope."""
    x = small_inputs(n, side, channels)
    goal, generator = st.Untargeted(torch.zeros(n).long()), st.RowGenerator.seeded(0, torch.arange(n))
    return Task.whole(Metered(lambda x: x.flatten(1)[:, :2], n), x, goal, threat, generator)


def walked(attack, task, queries):
    """The proposals, each kept as the best."""
    z, state = task.threat.zero(task.x), attack.start(task)
    for query in range(queries):
        last = z
        z, state = attack.propose(task, z, state, query)
        yield query, last, z
        state = attack.learn(state, torch.ones(len(task)).bool())


@pytest.mark.parametrize("threat", [st.Patch(4), st.Patch(3, 5, (2, 1)), st.Patch(2, eps=torch.linspace(0, 3, 8))])
def test_every_proposal_is_a_patch_of_extreme_colours(threat):
    attack, task = SparseRSPatch(queries=60), lineup(threat)
    for query, last, z in walked(attack, task, 60):
        x_adv = threat.apply(task.x, z)
        assert threat.allows(task.x, x_adv).all()
        assert (x_adv == 0).logical_or(x_adv == 1)[z != 0].all()
        some = torch.as_tensor(threat.eps).expand(8) * threat.height >= 1
        # A proposal differs from the last one (in rare places only where the picture has the new colour already).
        assert query == 0 or ((z != last).flatten(1).any(1) | ~some).double().mean() > 0.8


def test_the_patch_moves_at_every_fourth_proposal():
    attack, task = SparseRSPatch(queries=1000), lineup(st.Patch(2))
    state = attack.start(task)
    for query in range(1, 13):
        state = attack.propose(task, task.x, state, query)[1]
        moved = (state["next place"] != state["place"]).any(1)
        assert moved.any() == (query % 4 == 0)
        repainted = (state["next content"] != state["content"]).flatten(1).any(1)
        assert torch.equal(repainted, ~moved)


def test_the_schedule():
    """Squares of 0.4 of the patch, halved in area after 10, 50, 200, ... of 10,000 questions; then single channels."""
    attack = SparseRSPatch()
    assert [attack._share(query) for query in (0, 10, 11, 51, 201, 8001)] == [0.4, 0.4, 0.2, 0.1, 0.05, 0.4 / 512]
    assert SparseRSPatch(queries=100)._share(1) == 0.1
    assert attack._single(torch.tensor([4, 25, 2500, 4 * 10**4])).tolist() == [0, 50, 6000, torch.inf]
    task = lineup(st.Patch(5))
    state = attack.start(task)
    for query, most in ((1, 3 * 9), (60, 3), (6000, 1)):
        content = attack.propose(task, task.x, state, query + (query % 4 == 0))[1]["next content"]
        changed = (content != state["content"]).flatten(1).sum(1)
        assert 1 <= changed.min() <= changed.max() <= most


def test_the_place_keeps_to_what_is_allowed():
    """Near the end a patch moves by a pixel or not at all; one in its place never moves."""
    attack, task = SparseRSPatch(queries=100), lineup(st.Patch(2), side=8)
    state = attack.start(task)
    far = [
        (attack.propose(task, task.x, state, query)[1]["next place"] - state["place"]).abs().amax()
        for query in range(4, 100, 4)
    ]
    assert max(far[:4]) >= 3
    assert all(step <= 0.75 * (1 - query / 100) * 8 for query, step in zip(range(4, 100, 4), far, strict=True))
    named = lineup(st.Patch(2, place=(3, 5)))
    state = attack.start(named)
    assert all(
        attack.propose(named, named.x, state, query)[1]["next place"].eq(torch.tensor([3, 5])).all()
        for query in (0, 4, 8)
    )


def test_finds_the_best_content_on_a_linear_model():
    """In its place a patch gets its best colours; anywhere, it comes close, but may stay where it is good enough."""
    model, x = linear_model(64, classes=2), small_inputs(4, channels=1)
    with torch.no_grad():
        model.bias[:] = 0
        labels = model(x).argmax(1)
        model.bias[labels[0]] = 1e3  # never won
    rows = labels == labels[0]
    x, labels = x[rows], labels[rows]
    slope = (model.weight[1 - labels] - model.weight[labels]).detach().reshape(x.shape)
    gain = slope * torch.where(slope > 0, 1 - x, -x)
    goal = st.Untargeted(labels)
    here = SparseRSPatch(queries=80)(model, x, goal, st.Patch(3, place=(2, 4)))
    torch.testing.assert_close((slope * (here.x_adv - x)).flatten(1).sum(1), gain[..., 2:5, 4:7].flatten(1).sum(1))
    best = torch.nn.functional.avg_pool2d(gain, 3, 1).flatten(1).amax(1) * 9
    anywhere = SparseRSPatch(queries=200)(model, x, goal, st.Patch(3))
    reached = (slope * (anywhere.x_adv - x)).flatten(1).sum(1)
    assert (reached <= best * (1 + 1e-9)).all()
    assert reached.mean() > 0.7 * best.mean()


def test_beats_random_patches_on_digits():
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(20)))
    goal, threat = st.Untargeted(y), st.Patch(6)
    found = SparseRSPatch(queries=80)(model, x, goal, threat)
    assert found.success.sum() > st.RandomSearch(queries=80)(model, x, goal, threat).success.sum()
    assert found.forwards.max() <= 81


def test_what_cannot_be_meant():
    for wrong in ({"queries": 0}, {"alpha_init": 0}, {"alpha_init": 1.5}, {"period": 1}):
        with pytest.raises(st.UserError):
            SparseRSPatch(**wrong)
    with pytest.raises(st.UserError, match="patch"):
        SparseRSPatch().fits(st.L0(4))
