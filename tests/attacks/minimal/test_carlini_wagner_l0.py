"""Carlini and Wagner in L0: the fewest values of a linear model, pixels together, what is frozen, and rows alone."""

import pytest
import torch

import struthio as st
from struthio.attacks import CarliniWagnerL0
from struthio.attacks.minimal.missing import Missing
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import as_generator
from struthio.testing import linear_model, small_inputs, small_net

NET, X = small_net(5), small_inputs(4, 5)
with torch.no_grad():
    Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)
QUICK = {"steps": 30, "c": 0.1, "largest": 10.0, "step": 0.05}


def three_that_count():
    """Of 48 values three have slope 1, the others a hundredth; 0.9 has to be gained, and no value may rise over 0.4."""
    model, x = linear_model(48), torch.full((2, 3, 4, 4), 0.6).double()
    with torch.no_grad():
        model.weight.zero_()
        model.weight[1] = 0.01
        model.weight[1, [5, 21, 37]] = 1.0  # one pixel in three channels
        model.bias.copy_(
            torch.tensor([0.0, -0.9]).double() - torch.tensor([0.0, 1.0]) * (x[0].flatten() @ model.weight[1])
        )
    return model, x, st.Untargeted(torch.tensor([0, 0]))


def test_the_three_values_that_count_are_found():
    model, x, goal = three_that_count()
    result = CarliniWagnerL0(**QUICK)(model, x, goal, st.L0())
    assert result.size.tolist() == [3, 3]
    changed = (result.x_adv != x).flatten(1).nonzero()[:, 1].reshape(2, 3)
    assert changed.tolist() == [[5, 21, 37]] * 2


def test_pixels_are_frozen_with_all_their_channels():
    model, x, goal = three_that_count()
    result = CarliniWagnerL0(**QUICK)(model, x, goal, st.L0(unit="pixel"))
    assert result.size.tolist() == [1, 1]
    assert (result.x_adv != x).any(1).flatten(1).nonzero()[:, 1].tolist() == [5, 5]


def test_the_least_useful_are_frozen_first():
    """At most shrink times the root of the changed ones, at least one, and only one that is of use."""
    model, x, goal = three_that_count()
    task = Task.whole(Metered(model, 2), x, goal, st.L0(), as_generator(0, x))
    z = torch.full_like(x, 0.3)
    z[1] = 0.0
    z[1, :, 1, 1] = 0.3
    seen, free = Missing.at(task, Autograd(), z, 0.0), torch.ones(2, 48, dtype=torch.bool)
    left = CarliniWagnerL0(shrink=1.0)._fewer(task, z, seen, free)
    assert (~left).sum(1).tolist() == [7, 2], "the roots of 48 and of 3, rounded up"
    assert left[:, [5, 21, 37]].all()
    free[0] = (task.model.model.weight[1] == 1).flatten()
    left = CarliniWagnerL0(shrink=1.0)._fewer(task, z, seen, free)
    assert (free & ~left).sum(1).tolist() == [1, 2]


def test_fewer_changes_than_where_it_began():
    """A single search is the L2 attack, which changes everything."""
    once = CarliniWagnerL0(**QUICK, rounds=4)(NET, X, GOAL, st.L0())
    often = CarliniWagnerL0(**QUICK)(NET, X, GOAL, st.L0())
    jsma = st.JSMA(upsilon=1.0, direction="both", targets=9)(NET, X, GOAL, st.L0())
    assert often.success.all()
    assert (often.size < 0.5 * once.size).all()
    assert often.size.mean() <= jsma.size.mean()


def test_a_target_is_reached():
    with torch.no_grad():
        targets = NET(X).argsort(1)[:, -2]
    result = CarliniWagnerL0(**QUICK)(NET, X, st.Targeted(targets), st.L0())
    assert result.success.all()
    assert torch.equal(NET(result.x_adv).argmax(1), targets)


def test_every_row_searches_at_its_own_pace():
    attack = CarliniWagnerL0(**QUICK, rounds=20)
    together = attack(NET, X, GOAL, st.L0())
    alone = [attack(NET, X[[row]], GOAL[torch.tensor([row])], st.L0()) for row in range(2)]
    assert together.forwards[:2].tolist() == [int(one.forwards) for one in alone]
    assert together.size[:2].tolist() == [float(one.size) for one in alone]


def test_options_are_checked():
    for option, value in (("steps", 0), ("rounds", 0), ("c", 0.0), ("largest", 0.0), ("shrink", 0.0),
                          ("kappa", -1.0), ("step", 0.0), ("bend", 1.0)):  # fmt: skip
        with pytest.raises(st.UserError, match=option):
            CarliniWagnerL0(**{option: value})
