"""Auto-PGD in L1: balls of 3, 2 and 1 radii, in which a win outside the ball ends nothing; and sparse results."""

import torch

import struthio as st
from struthio.rows import norm
from struthio.testing import exact_distance, linear_model, small_inputs
from struthio.testing.traces import Counting

MODEL, X = linear_model(48, seed=3), small_inputs(6, 4, seed=3) * 0.4 + 0.3
LABELS = MODEL(X).argmax(1)
EXACT = exact_distance(MODEL, X, LABELS, 1)


def test_rows_stay_until_they_are_won_in_the_ball_itself():
    """At .9 of the exact distance all are won in the balls of 3 and 2 radii, and none in the last."""
    result = st.APGD(steps=100)(MODEL, X, st.Untargeted(LABELS), st.L1(0.9 * EXACT))
    assert not result.success.any()
    assert result.backwards.tolist() == [100] * 6
    result = st.APGD(steps=100)(MODEL, X, st.Untargeted(LABELS), st.L1(1.1 * EXACT))
    assert result.success.all()
    assert ((result.backwards > 60) & (result.backwards < 100)).all()


def test_the_balls_shrink():
    counting, eps = Counting(MODEL), 0.9 * EXACT
    st.APGD(steps=100)(counting, X, st.Untargeted(LABELS), st.L1(eps))
    sizes = torch.stack([norm(asked - X, 1) / eps for asked in counting.asked])
    # 30 steps, 30 and 40; each stage looks once more at where it ended, and the judge looks last
    for first, last, factor in ((0, 31, 3), (31, 62, 2), (62, 104, 1)):
        assert (sizes[first:last] <= factor + 1e-6).all()
        assert (sizes[first:last] > factor - 0.5).any()
    assert len(sizes) == 104


def test_results_are_sparse():
    result = st.APGD(steps=100)(MODEL, X, st.Untargeted(LABELS), st.L1(1.1 * EXACT))
    changed = ((result.x_adv - X).abs() > 1e-6).flatten(1).sum(1)
    assert changed.max() < 12
