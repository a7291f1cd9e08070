"""Several attacks in one budget: what they cost together, and that each row keeps the smallest."""

from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.rows import RowGenerator
from struthio.testing.models import small_inputs, small_net

BALLS = [st.L2(), st.Linf(), st.L1(), st.L0()]
STEPS = 190  # room for a walk, and for the last


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


def test_a_row_keeps_the_smallest_of_its_members_or_what_the_last_walk_makes_of_it(rows):
    model, x, goal = rows
    attack, generator = st.AutoMinimal(steps=STEPS), RowGenerator.seeded(0, torch.arange(len(x)))
    members = attack.members(2)
    alone = [one(model, x, goal, st.L2(), generator.fold(turn)) for turn, one in enumerate(members.attacks)]
    sizes = torch.stack([result.size for result in alone])
    start = torch.stack([result.x_adv for result in alone])[sizes.argmin(0), torch.arange(len(x))]
    last = replace(members.last, start=start)(model, x, goal, st.L2(), generator.fold(len(alone))).size
    assert attack(model, x, goal, st.L2(), generator).size == pytest.approx(last.minimum(sizes.amin(0)))


def test_without_room_for_a_walk_slopes_get_all(rows):
    members = st.AutoMinimal(steps=20).members(2)
    assert not any(isinstance(member, st.BrendelBethge) for member in members.attacks)
    assert members.last is None
    assert st.AutoMinimal(steps=20)(*rows, st.L2()).forwards.float().mean() > 15


def test_walks_take_what_the_others_leave():
    walks = [member for member in st.AutoMinimal().members(2).attacks if isinstance(member, st.BrendelBethge)]
    assert len(walks) >= 10


def test_in_l0_runs_from_noise_take_the_place_of_walks():
    first, *runs = st.AutoMinimal().members(0).attacks
    assert isinstance(first, st.SigmaZero)
    assert [run.noise for run in runs] == [0.5] * 2
