"""The search among moved pictures, and gradient attacks on the same threat."""

import math

import pytest
import torch

import struthio as st
from struthio.testing import attack_promises, small_inputs
from struthio.testing.settings import plain


@pytest.mark.parametrize("promise", attack_promises(), ids=lambda promise: promise.__name__)
def test_promises_of_random_moves(promise):
    """The grid is in the registry, and examined there; options and endings are the same for both."""
    if promise.__name__ not in ("every_option_changes_something", "never_loses_a_win"):
        promise(st.SpatialSearch(random=5))


def brightest(side=8):
    """The class is the column in which a picture is brightest."""
    return lambda x: x.sum((1, 2)) + 1e-3 * torch.arange(side)


def column(side=8, place=3):
    x = torch.zeros(1, 1, side, side)
    x[..., place] = 1
    return x


def test_the_grid_finds_the_smallest_move():
    """A column wins when it is shifted by half a pixel, of which there are five steps in 0.25 of the side."""
    goal = st.Untargeted(torch.tensor([3]))
    attack = st.SpatialSearch(angles=1, shifts=9)
    result = attack(brightest(), column(), goal, st.Spatial(angle=30, shift=0.25))
    assert result.success.all()
    assert result.size.item() == pytest.approx(0.25, abs=1e-3)


def test_the_grid_is_that_of_the_paper():
    """Every move is asked about once, no move first."""
    never = lambda x: torch.eye(2)[torch.zeros(len(x)).long()]  # noqa: E731
    x, goal = small_inputs(2), st.Untargeted(torch.zeros(2).long())
    result = st.SpatialSearch()(never, x, goal, st.Spatial())
    assert result.forwards.tolist() == [31 * 5 * 5 + 1] * 2
    assert torch.equal(result.x_adv, x)
    assert st.SpatialSearch(random=10)(never, x, goal, st.Spatial()).forwards.tolist() == [12, 12]
    moves = st.SpatialSearch()._grid(st.Spatial(), x)
    assert len({tuple(move) for move in moves.tolist()}) == 31 * 25 - 1
    assert moves.unique().tolist() == pytest.approx(sorted({*torch.linspace(-1, 1, 31).tolist(), -0.5, 0.5}), abs=1e-6)


def test_the_budget_is_kept_to():
    never = lambda x: torch.eye(2)[torch.zeros(len(x)).long()]  # noqa: E731
    meter = st.Metered(never, 2, budget=50)
    meter.forwards[1] = 40
    goal, rows = st.Untargeted(torch.zeros(2).long()), st.RowGenerator.seeded(0, torch.arange(2))
    st.SpatialSearch().search(meter, small_inputs(2), goal, st.Spatial(), rows)
    assert meter.forwards.tolist() == [49, 49]


def test_gradient_attacks_move_pictures_too():
    """PGD and Auto-PGD climb along the slope of angle and shifts; a grid finds no less."""
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(10)))
    with torch.no_grad():
        right = model(x).argmax(1) == y
    x, y = x[right], y[right]
    threat = st.Spatial(angle=30, shift=0.1)
    grid = st.SpatialSearch(angles=9)(model, x, st.Untargeted(y), threat)
    for attack in (st.PGD(steps=10), st.APGD(steps=10)):
        result = attack(model, x, st.Untargeted(y), threat)
        assert 0 < result.success.sum() <= grid.success.sum()
        assert threat.allows(x, result.x_adv).all()


def test_on_the_levels_of_a_picture():
    """What is found is still a move of the picture after rounding."""
    at = plain("spatial")
    result = at.run(st.SpatialSearch(3, 3), threat=st.Levels(at.threat))
    assert result.success.any()
    torch.testing.assert_close(result.x_adv * 255, (result.x_adv * 255).round())


def test_other_attacks_refuse_moved_pictures():
    at = plain("spatial")
    for attack in (st.HopSkipJump(), st.Boundary(), st.RayS(), st.GeoDA(), st.Square(), st.DDN()):
        with pytest.raises(st.UserError, match="threat is spatial"):
            at.run(attack)
    with pytest.raises(st.UserError, match="single values"):
        st.Masked(at.threat, torch.ones(3, 8, 8).bool()).check(at.x)


def test_what_cannot_be_meant():
    for wrong in ({"angles": 0}, {"shifts": 2.5}, {"random": -1}):
        with pytest.raises(st.UserError):
            st.SpatialSearch(**wrong)
    at = plain("spatial")
    for other in (st.Linf(0.1), st.Patch(2)):
        with pytest.raises(st.UserError, match="spatial"):
            at.run(st.SpatialSearch(), threat=other)
    assert math.isinf(st.Spatial(math.inf).eps)
