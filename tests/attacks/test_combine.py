"""Attacks made of attacks: who sees which rows, what is kept, and how small a radius can be."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

import struthio as st
from struthio import UserError
from struthio.attacks.base import Attack
from struthio.testing import exact_distance, linear_model, small_inputs, small_net

NET, X = small_net(8), small_inputs(8, 8)
Y = NET(X).argmax(1)
GOAL, THREAT = st.Untargeted(Y), st.Linf(4 / 255)
WEAK, STRONG = st.FGSM(), st.PGD(steps=10)


@dataclass(frozen=True)
class Watching(Attack):
    """Passes a search on and notes how many rows it was given, and with which goals."""

    attack: Attack
    seen: list

    def search(self, model, x, goal, threat, generator):
        self.seen.append((len(x), goal, generator.uniform().tolist()))
        return self.attack.search(model, x, goal, threat, generator)


def test_later_attacks_see_only_the_rows_that_hold():
    seen = []
    first, cascade = WEAK(NET, X, GOAL, THREAT), st.Cascade((WEAK, Watching(STRONG, seen)))
    result = cascade(NET, X, GOAL, THREAT)
    assert 0 < int(first.success.sum()) < 8
    assert [count for count, *_ in seen] == [int((~first.success).sum())]
    assert torch.equal(result.x_adv[first.success], first.x_adv[first.success])
    assert (result.success | ~first.success).all()
    # a row won at once: the weak attack's two questions, the cascade's look, and the judge's
    assert set(result.forwards[first.success].tolist()) == {3}
    assert result.forwards[~first.success].min() > 3


def test_a_cascade_wins_what_its_parts_win():
    parts = [attack(NET, X, GOAL, THREAT).success for attack in (WEAK, st.MIFGSM())]
    assert torch.equal(st.Cascade((WEAK, st.MIFGSM()))(NET, X, GOAL, THREAT).success, parts[0] | parts[1])


def test_rows_that_hold_keep_the_point_nearest_to_winning():
    threat = st.Linf(1 / 255)
    parts = [attack(NET, X, GOAL, threat) for attack in (WEAK, st.BIM(steps=5))]
    result = st.Cascade((WEAK, st.BIM(steps=5)))(NET, X, GOAL, threat)
    held = ~result.success
    best = torch.maximum(parts[0].score, parts[1].score)
    torch.testing.assert_close(result.score[held], best[held])


def test_repetitions_draw_new_numbers_for_the_rows_that_hold():
    seen = []
    result = st.Repeat(Watching(st.PGD(steps=2), seen), 4)(NET, X, GOAL, THREAT)
    counts = [count for count, *_ in seen]
    assert counts[0] == 8
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] <= int((~result.success).sum()) + 1
    drawn = [number for *_, numbers in seen for number in numbers]
    assert len(set(drawn)) == len(drawn)


def test_restarts_are_repetitions():
    a = st.PGD(steps=3, restarts=3)(NET, X, GOAL, THREAT)
    b = st.Repeat(st.PGD(steps=3), 3)(NET, X, GOAL, THREAT)
    assert torch.equal(a.x_adv, b.x_adv)
    assert torch.equal(a.forwards, b.forwards)


def test_each_target_leads_to_the_likeliest_wrong_classes_first():
    seen = []
    st.EachTarget(Watching(STRONG, seen), 3)(NET, X, GOAL, st.Linf(0.0))
    order = NET(X).scatter(1, Y[:, None], -torch.inf).argsort(1, descending=True)
    for turn, (count, goal, _) in enumerate(seen):
        assert count == 8
        assert torch.equal(goal.labels, Y)
        assert torch.equal(goal.toward, order[:, turn])
    assert len(seen) == 3


def test_each_target_tries_no_more_classes_than_there_are():
    seen = []
    st.EachTarget(Watching(STRONG, seen), 99)(NET, X, GOAL, st.Linf(0.0))
    assert len(seen) == 4


def test_any_wrong_class_counts_whichever_leads():
    """A model whose class 2 rises when it is led to class 1."""

    def model(x):
        s = x.sum(1)
        return torch.stack([torch.full_like(s, 2.0), s, 2 * s], 1)

    x = torch.full((1, 2), 0.45)
    result = st.EachTarget(st.FGSM(loss=st.Logit()), 1)(model, x, st.Untargeted(torch.tensor([0])), st.Linf(0.1))
    assert result.success.all()


@pytest.mark.parametrize("goal", [st.Targeted((Y + 1) % 5), st.Drift(NET(X).detach())])
def test_each_target_needs_labels(goal):
    for attack in (st.EachTarget(STRONG, 3), st.APGDT(steps=2)):
        with pytest.raises(UserError, match="must be Untargeted"):
            attack(NET, X, goal, THREAT)


@pytest.mark.parametrize(
    ("kind", "p", "attack"),
    [
        (st.Linf, math.inf, st.PGD(steps=30, random_start=False)),
        (st.Linf, math.inf, st.APGD(steps=40)),
        (st.L2, 2, st.PGD(steps=30, step=1.0)),
        (st.L2, 2, st.APGD(steps=40)),
        (st.L1, 1, st.APGD(steps=100)),
    ],
)
def test_the_smallest_radius_is_the_exact_distance(kind, p, attack):
    model, x = linear_model(48, seed=4), small_inputs(6, 4, seed=4)
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        labels = model(x).argmax(1)
    exact = exact_distance(model, x, labels, p)
    result = st.SmallestRadius(attack)(model, x, st.Untargeted(labels), kind())
    assert result.success.all()
    assert (result.size >= exact * (1 - 1e-9)).all()
    assert (result.size <= 1.02 * exact).all()


def test_each_row_keeps_the_smallest_win_of_several():
    crude, fine = st.SmallestRadius(st.FGSM(), steps=2), st.DDN(steps=30)
    turns = [st.RowGenerator.seeded(0, torch.arange(8)).fold(turn) for turn in range(2)]
    alone = [one(NET, X, GOAL, st.L2(), turn) for one, turn in zip((crude, fine), turns, strict=True)]
    both = st.SmallestOf((crude, fine))(NET, X, GOAL, st.L2())
    size = torch.stack([torch.where(one.success, one.size, torch.inf) for one in alone])
    assert torch.equal(both.size, size.min(0).values)
    assert len(size.min(0).indices.unique()) == 2, "of these rows some are nearest by the one, some by the other"
    assert torch.equal(both.forwards, alone[0].forwards + alone[1].forwards + 1)


def test_the_smallest_number_of_values():
    """Weights 3, 2, 1 on values with room 1: a margin of 4 takes two of them."""

    def model(x: Tensor) -> Tensor:
        s = x @ torch.tensor([3.0, 2.0, 1.0])
        return torch.stack([torch.full_like(s, 4.0), s], 1)

    result = st.SmallestRadius(st.FGSM())(model, torch.zeros(1, 3), st.Untargeted(torch.tensor([0])), st.L0())
    assert result.success.all()
    assert result.size.tolist() == [2]


def test_a_cap_on_the_radius_is_kept():
    model, x = linear_model(48, seed=4), small_inputs(6, 4, seed=4)
    labels = model(x).argmax(1)
    exact = exact_distance(model, x, labels, 2)
    cap = 0.995 * float(exact.median())  # no row lies on the cap, where rounding would decide
    result = st.SmallestRadius(st.APGD(steps=40))(model, x, st.Untargeted(labels), st.L2(cap))
    assert (result.size <= cap + 1e-6).all()
    assert torch.equal(result.success, exact * 1.01 < cap)


def test_rows_of_the_smallest_radius_do_not_meet():
    attack = st.SmallestRadius(st.PGD(steps=5), steps=4)
    whole = attack(NET, X, GOAL, st.L2())
    for row in range(8):
        one = slice(row, row + 1)
        generator = st.RowGenerator.seeded(0, torch.tensor([row]))
        alone = attack(NET, X[one], GOAL[one], st.L2(), generator)
        torch.testing.assert_close(alone.x_adv, whole.x_adv[one], atol=1e-9, rtol=0)
        assert alone.forwards == whole.forwards[one]


def test_without_radius_and_limits_there_is_no_end():
    with pytest.raises(UserError, match="neither the radius nor the limits"):
        st.SmallestRadius(STRONG)(NET, X, GOAL, st.L2(box=None))


@pytest.mark.parametrize(
    "attack",
    [
        st.Repeat(st.BIM(steps=3)),
        st.Cascade((st.FGSM(), st.BIM(steps=3))),
        st.SmallestRadius(st.BIM(steps=3)),
        st.SmallestOf((st.BIM(steps=3),)),
        st.EachTarget(st.BIM(steps=3)),
        st.Repeat(st.Cascade((st.Repeat(st.BIM(steps=3)),))),
    ],
)
def test_norms_are_those_of_the_attacks_inside(attack):
    attack(NET, X, GOAL, THREAT)
    with pytest.raises(UserError, match="BIM is defined in linf"):
        attack(NET, X, GOAL, st.L2(0.1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: st.Cascade(()),
        lambda: st.SmallestOf(()),
        lambda: st.SmallestOf((st.FMN(),), last=st.FMN()),  # which takes no start
        lambda: st.Repeat(WEAK, 0),
        lambda: st.EachTarget(WEAK, 0),
        lambda: st.SmallestRadius(WEAK, steps=0),
        lambda: st.SmallestRadius(WEAK, first=0),
    ],
)
def test_options_that_cannot_be_meant(make):
    with pytest.raises(UserError):
        make()


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: st.Cascade(st.FGSM()), r"Cascade was given FGSM\(\); made attacks"),
        (lambda: st.Cascade((st.FGSM(), st.PGD)), "Cascade was given the class PGD itself"),
        (lambda: st.SmallestOf(("fmn",)), "SmallestOf was given 'fmn'"),
        (lambda: st.Repeat(st.PGD), "Repeat was given the class PGD"),
        (lambda: st.EachTarget(None), "EachTarget was given None"),
        (lambda: st.SmallestRadius(st.Linf(0.1)), r"SmallestRadius was given Linf\(eps=0.1\)"),
    ],
)
def test_what_is_no_attack_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_without_a_gradient_targets_come_in_the_order_of_scores():
    estimated = st.PGD(steps=2, gradient=st.gradients.Estimated(sigma=0.03))
    nearest, strongest = (st.EachTarget(estimated, 2, order=order) for order in ("distance", "score"))
    model = st.scores_only(NET)
    assert torch.equal(nearest(model, X, GOAL, THREAT).x_adv, strongest(model, X, GOAL, THREAT).x_adv)
