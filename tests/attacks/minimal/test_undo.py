"""Undoing changes: what is left of all of them is as few as can be, and rows are treated alone."""

import pytest
import torch

import struthio as st
from struthio.attacks.minimal.undo import undo
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import small_inputs, small_net
from tests.attacks.minimal.test_linear import fewest
from tests.attacks.test_linear import far_from_the_boundary


def task_of(model, x, goal, threat):
    generator = RowGenerator.seeded(0, torch.arange(len(x)))
    return Task.whole(Metered(model, len(x)), x, goal, threat, generator)


@pytest.mark.parametrize("seed", range(2))
def test_of_all_changes_the_fewest_are_left(seed):
    """On a linear model a win with every value at its limit is thinned out to the exact distance in L0."""
    model, x, labels = far_from_the_boundary(seed)
    slope = (model.weight[1 - labels] - model.weight[labels]).reshape(x.shape)
    start = (slope > 0).to(x)
    task = task_of(model, x, st.Untargeted(labels), st.L0())
    thin = undo(task, start.detach(), 120)
    assert (model(thin).argmax(1) != labels).all()
    assert torch.equal(st.L0().size(x, thin).long(), fewest(model, x, labels))


@pytest.mark.parametrize("unit", ["feature", "pixel"])
def test_the_others_make_up_for_what_is_undone(unit):
    """Changes that stop just past the boundary can do more; each row does so for itself."""
    model, x = small_net(8), small_inputs(4, 8)
    goal, ball = st.Untargeted(model(x).argmax(1)), st.L0(unit=unit)
    start = st.DeepFool()(model, x, goal, st.L2()).x_adv
    together = undo(task_of(model, x, goal, ball), start, 60)
    assert goal.success(model(together)).all()
    assert (ball.size(x, together) < 0.8 * ball.size(x, start)).all()
    alone = undo(task_of(model, x[[2]], goal[torch.tensor([2])], ball), start[[2]], 60)
    torch.testing.assert_close(alone, together[[2]])
