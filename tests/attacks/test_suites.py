"""Suites: AutoAttack as published, targets in the order of their distance, and which threats have which suite."""

from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.attacks.starts import OutputDiversified
from struthio.attacks.suites import LEVELS, suite
from struthio.testing import linear_model, small_inputs, small_net

NET, X = small_net(), small_inputs(6)
GOAL = st.Untargeted(NET(X).argmax(1))


def test_autoattack_is_its_parts_on_survivors():
    attack = st.AutoAttack(steps=5, targets=2, queries=20)
    whole = attack(NET, X, GOAL, st.Linf(0.05), generator=3)
    parts = st.Cascade(tuple(part.attack for part in attack.parts()))(NET, X, GOAL, st.Linf(0.05), generator=3)
    assert whole.x_adv.equal(parts.x_adv)
    assert [part.name for part in st.AutoAttack().parts()] == ["apgd-ce", "apgd-t", "fab-t", "square"]
    apgd, targeted, fab, square = (part.attack for part in st.AutoAttack().parts())
    assert (apgd.steps, targeted.steps, targeted.targets, fab.steps, fab.targets) == (100, 100, 9, 100, 9)
    assert (square.queries, square.rescale_schedule, square.p_init) == (5000, False, 0.8)


def test_autoattack_wins_whatever_a_part_wins():
    attack = st.AutoAttack(steps=5, targets=2, queries=30)
    whole = attack(NET, X, GOAL, st.Linf(0.04), generator=3).success
    for part in attack.parts():
        alone = part.attack(NET, X, GOAL, st.Linf(0.04), generator=3).success
        assert int(whole.sum()) >= int(alone.sum())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("threat", [st.Linf(0.1), st.L2(1.0), st.L1(5.0)])
def test_every_part_fits_the_threat(level, threat):
    for part in suite(level, threat):
        part.attack.fits(threat)


@pytest.mark.parametrize("level", ["quick", "standard", "thorough"])
def test_the_nearest_class_is_tried_on_every_row_that_the_strongest_one_left(level):
    margin, nearest = suite(level, st.Linf(0.1))[:2]
    assert (margin.share, nearest.share, nearest.attack.order) == (1.0, 1.0, "distance")


@pytest.mark.parametrize("level", ["quick", "standard"])
def test_the_longest_searches_are_kept_for_the_last_rows(level):
    *before, last = (part for part in suite(level, st.Linf(0.1)) if part.access == "gradients")
    again, targets = last.attack.attacks
    assert (before[-1].name, last.share) == ("restarts", 0)
    assert again.steps > before[-1].attack.steps
    assert again.start == before[-1].attack.start == OutputDiversified()
    assert (targets.targets, targets.attack.steps) == (9, 100)  # as many and as long as in AutoAttack


def test_squares_go_on_from_slopes_and_begin_from_stripes_where_none_can_be_trusted():
    for level in ("standard", "thorough"):
        part = next(part for part in suite(level, st.Linf(0.1)) if part.name == "square")
        assert part.attack.after is not None
        assert part.blind.after is None
        assert part.blind.queries >= 3000


@pytest.mark.parametrize("threat", [st.L0(5), st.Spatial(angle=10, shift=0.1)])
def test_threats_that_are_no_such_balls_have_their_own_suite(threat):
    for part in suite("standard", threat):
        part.attack.fits(threat)
    with pytest.raises(st.UserError, match="linf, l2, l1"):
        suite("standard-aa", threat)


def test_an_unknown_level_is_refused():
    with pytest.raises(st.UserError, match="thorough"):
        suite("through", st.Linf(0.1))


@pytest.mark.parametrize(("threat", "dual"), [(st.Linf(0.1), 1), (st.L2(0.1), 2)])
def test_targets_come_in_the_order_of_their_exact_distance_on_a_linear_model(threat, dual):
    """The border to class t is |gap| / |w_t - w_y|_dual away where no limits bind."""
    model = linear_model(192, classes=5)
    x = small_inputs(4).double().clamp(0.4, 0.6)
    outputs = model(x)
    labels = outputs.argmax(1)
    gaps = outputs.gather(1, labels[:, None]) - outputs
    lengths = torch.linalg.vector_norm(model.weight[None] - model.weight[labels][:, None], ord=dual, dim=2)
    exact = (gaps / lengths.clamp(min=1e-9)).scatter(1, labels[:, None], torch.inf).argsort(1)[:, :2]
    seen = []

    class Watch(st.FGSM):
        def search(self, model, x, goal, threat, generator):
            seen.append(goal.toward.clone())
            return x.clone()

    st.EachTarget(Watch(), 2, order="distance")(model, x, st.Untargeted(labels), replace(threat, box=None))
    assert torch.stack(seen, 1).equal(exact)
