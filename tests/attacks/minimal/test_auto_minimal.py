"""Several attacks in one budget: what they cost together, and that each row keeps the smallest."""

import pytest
import torch

import struthio as st
from struthio.rows import RowGenerator
from struthio.testing.models import small_inputs, small_net

BALLS = [st.L2(), st.Linf(), st.L1(), st.L0()]
STEPS = 60


@pytest.fixture(scope="module")
def rows():
    model = small_net(5)
    x = small_inputs(4, 5)
    return model, x, st.Untargeted(model(x).argmax(1))


@pytest.mark.parametrize("ball", BALLS, ids=lambda ball: ball.norm)
def test_no_row_costs_more_than_its_steps(rows, ball):
    result = st.AutoMinimal(steps=STEPS)(*rows, ball)
    assert result.success.all()
    assert result.forwards.float().mean() <= 1.1 * STEPS
    assert result.backwards.float().mean() <= STEPS
    assert result.forwards.float().mean() > 0.5 * STEPS, "what may be spent is spent"


def test_a_row_keeps_the_smallest_of_its_members(rows):
    model, x, goal = rows
    attack, generator = st.AutoMinimal(steps=STEPS), RowGenerator.seeded(0, torch.arange(len(x)))
    alone = [
        member(model, x, goal, st.L2(), generator.fold(turn)).size for turn, member in enumerate(attack.members(2))
    ]
    together = attack(model, x, goal, st.L2(), generator).size
    assert together == pytest.approx(torch.stack(alone).amin(0))


def test_walks_take_what_the_others_leave():
    walks = [member for member in st.AutoMinimal(steps=1000).members(2) if isinstance(member, st.BrendelBethge)]
    assert len(walks) >= 10
    assert not any(isinstance(member, st.BrendelBethge) for member in st.AutoMinimal().members(0))
