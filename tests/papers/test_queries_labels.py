"""What the papers of the label attacks found, found again on the digits network with 1,000 questions a row."""

import functools

import pytest
import torch

import struthio as st


@functools.cache
def rows():
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(16)))
    with torch.no_grad():
        right = model(x).argmax(1) == y
    return model, x[right], y[right]


@functools.cache
def median(attack, threat=st.L2):
    model, x, y = rows()
    result = attack(model, x, st.Untargeted(y), threat())
    assert result.success.all()
    assert (result.forwards <= attack.queries + 1).all()
    return float(result.size.median())


HSJ = st.HopSkipJump(queries=1000)


def test_hop_skip_jump_needs_fewer_questions_than_the_boundary_attack():
    """Chen et al., 2020: after 1,000 questions BA is still far behind."""
    assert median(st.Boundary(queries=1000)) >= 1.4 * median(HSJ)


def test_low_frequencies_save_questions():
    """Li et al., 2020: QEBA-F comes nearer than HopSkipJump for the same number of questions."""
    assert median(st.HopSkipJump(queries=1000, band=1 / 3)) <= 0.9 * median(HSJ)


def test_geoda_is_ahead_of_hop_skip_jump_with_few_questions():
    """Rahmati et al., 2020: with a sub-space of low frequencies, in L2 and in Linf."""
    assert median(st.GeoDA(queries=1000, rounds=10)) <= 0.95 * median(HSJ)
    assert median(st.GeoDA(queries=1000, rounds=10), st.Linf) <= 0.95 * median(HSJ, st.Linf)


def test_rays_needs_fewer_questions_in_linf():
    """Chen, Gu, 2020: signs alone find a nearer point than slopes do."""
    assert median(st.RayS(queries=1000), st.Linf) <= 0.75 * median(HSJ, st.Linf)


def test_hop_skip_jump_comes_near_to_a_gradient_attack():
    """Chen et al., 2020: with more questions the distance approaches that of C&W; here that of DDN."""
    near = median(st.HopSkipJump(queries=4000, band=1 / 3))
    model, x, y = rows()
    best = st.attacks.attack_class("ddn")(steps=200)(model, x, st.Untargeted(y), st.L2())
    assert near <= 1.3 * float(best.size.median())


@pytest.mark.parametrize("attack", [st.PGD(steps=40), st.SpatialSearch(random=10)], ids=["first order", "worst of 10"])
def test_a_grid_of_moves_finds_more_than_gradients_or_chance(attack):
    """Engstrom et al., 2019: first-order search leaves many rows that a grid of 775 moves takes."""
    model, x, y = rows()
    grid = st.SpatialSearch()(model, x, st.Untargeted(y), st.Spatial())
    other = attack(model, x, st.Untargeted(y), st.Spatial())
    assert grid.rate > 0.9
    assert other.rate <= grid.rate - 0.1
