"""Only what the mask sets may change."""

import math

import pytest
import torch

from struthio import UserError
from struthio.rows import RowGenerator
from struthio.threats import L1, L2, Linf, Masked

X = torch.full((2, 3), 0.5, dtype=torch.float64)
FREE = torch.tensor([True, False, True])
EACH = torch.tensor([[True, False, True], [False, True, False]])


def test_steps_go_only_where_they_may():
    grad = torch.tensor([[1.0, 9.0, 2.0]]).expand(2, 3).double()
    assert Masked(L1(1.0), FREE).steepest(X, 0 * X, grad).tolist() == [[0, 0, 1], [0, 0, 1]]
    step = Masked(L2(1.0), FREE).steepest(X, 0 * X, grad)
    torch.testing.assert_close(step[0], torch.tensor([1, 0, 2]).double() / math.sqrt(5))


def test_projection_spends_no_radius_on_what_is_protected():
    wild = torch.tensor([[0.3, 50.0, 0.4]]).expand(2, 3).double()
    found = Masked(L2(0.25), FREE).project(X, wild)
    torch.testing.assert_close(found[0], torch.tensor([0.15, 0.0, 0.2]).double())


def test_a_mask_a_row_follows_its_row():
    threat = Masked(Linf(torch.tensor([0.1, 0.2]).double()), EACH, each=True)
    found = threat[torch.tensor([1])].project(X[1:], torch.ones(1, 3).double())
    torch.testing.assert_close(found, torch.tensor([[0.0, 0.2, 0.0]]).double())


def test_a_change_outside_has_no_size():
    moved = X + torch.tensor([0.0, 0.01, 0.0])
    assert Masked(Linf(0.1), EACH, each=True).size(X, moved).tolist() == pytest.approx([math.inf, 0.01])
    assert Masked(Linf(0.1), EACH, each=True).allows(X, moved).tolist() == [False, True]


def test_samples_fill_the_free_part_of_the_ball():
    """Samples are of full length within the mask, as far as a ball with fewer values has it."""
    x = torch.full((200, 30), 0.5, dtype=torch.float64)
    z = Masked(Linf(0.1), torch.arange(30) < 3).sample(x, RowGenerator.seeded(0, torch.arange(200)))
    assert z[:, 3:].abs().max() == 0
    assert z[:, :3].abs().mean() == pytest.approx(0.05, abs=0.005)


@pytest.mark.parametrize(
    ("mask", "each", "words"),
    [
        (torch.ones(3), False, "of bool is needed"),
        (torch.ones(3, dtype=torch.bool).numpy(), False, "a ndarray; a tensor of bool is needed"),
        (torch.ones(4, dtype=torch.bool), False, r"\(3,\) is needed"),
        (torch.ones(3, 3, dtype=torch.bool), True, r"\(2, 3\) is needed"),
        (torch.zeros(3, dtype=torch.bool), False, "sets nothing"),
    ],
)
def test_masks_that_do_not_fit_are_refused(mask, each, words):
    with pytest.raises(UserError, match=words):
        Masked(Linf(0.1), mask, each).check(X)


def test_masks_broadcast_over_channels():
    x = torch.full((2, 3, 4, 4), 0.5)
    place = torch.zeros(4, 4, dtype=torch.bool)
    place[1, 2] = True
    threat = Masked(Linf(0.1), place)
    threat.check(x)
    found = threat.project(x, torch.ones_like(x))
    assert (found != 0).sum() == 6
