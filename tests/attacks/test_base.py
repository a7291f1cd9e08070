"""No attack marks its own homework: whatever a search returns, success, size and cost are judged outside it."""

from dataclasses import dataclass

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.base import Attack
from struthio.testing import small_inputs, small_net
from struthio.testing.traces import Counting

NET, X = small_net(8), small_inputs(8, 8)
Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)


@dataclass(frozen=True)
class Returning(Attack):
    """A search that returns what it was told to."""

    found: torch.Tensor

    def search(self, model, x, goal, threat, generator):
        return self.found.clone()


def threshold(x):
    """Class 1 as soon as the mean exceeds a half."""
    mean = x.flatten(1).mean(1)
    return torch.stack([torch.full_like(mean, 0.5), mean], 1)


CALM = torch.full((2, 4), 0.45)
CLASS_0 = st.Untargeted(torch.zeros(2, dtype=torch.int64))


@pytest.mark.parametrize(
    ("threat", "found", "won"),
    [
        (st.Linf(0.1), CALM + torch.tensor([[0.09], [0.04]]), [True, False]),
        (st.Linf(0.1), CALM + 0.2, [False, False]),
        (st.L2(0.15), CALM + torch.tensor([[0.06], [0.09]]), [True, False]),
        (st.L1(0.3), CALM + torch.tensor([[0.06], [0.09]]), [True, False]),
        (st.L0(2), CALM + torch.tensor([[0.3, 0.3, 0, 0], [0.1, 0.1, 0.1, 0]]), [True, False]),
        (st.Linf(1.0), CALM + torch.tensor([[0.5], [0.6]]), [True, False]),
        (st.L2(0.5, st.Box(0.4, 0.6)), CALM + torch.tensor([[0.1], [0.2]]), [True, False]),
        (st.Linf(torch.tensor([0.2, 0.05])), CALM + 0.1, [True, False]),
        (st.Masked(st.Linf(0.5), torch.tensor([True, False, True, True])), CALM + 0.3, [False, False]),
        (st.Linf(0.5), CALM * torch.nan, [False, False]),
    ],
)
def test_only_wins_within_the_threat_and_the_limits_count(threat, found, won):
    assert Returning(found)(threshold, CALM, CLASS_0, threat).success.tolist() == won


def test_values_beside_the_levels_do_not_count():
    x = torch.full((2, 4), 120 / 255)
    found = torch.tensor([[130.0], [130.4]]).expand(2, 4) / 255
    assert Returning(found)(threshold, x, CLASS_0, st.Levels(st.Linf(0.1))).success.tolist() == [True, False]


def test_a_model_that_answers_nan_is_not_beaten():
    def broken(x):
        return torch.where((x.mean(1) > 0.5)[:, None], torch.nan, threshold(x))

    assert not Returning(CALM + 0.09)(broken, CALM, CLASS_0, st.Linf(0.1)).success.any()


def test_size_and_score_are_those_of_what_came_out():
    result = Returning(CALM + 0.09)(threshold, CALM, CLASS_0, st.L2(1.0))
    assert result.size.tolist() == pytest.approx([0.18, 0.18])
    assert result.score.tolist() == pytest.approx([0.04, 0.04])
    assert result.forwards.tolist() == [1, 1]
    assert result.backwards.tolist() == [0, 0]


def test_the_judges_question_is_counted():
    result = st.FGSM()(NET, X, GOAL, st.Linf(0.1))
    assert set(result.forwards.tolist()) == {2}
    assert set(result.backwards.tolist()) == {1}


def test_a_row_that_is_won_costs_nothing_more():
    wrong = st.Untargeted((Y + torch.tensor([1, 0] * 4)) % 5)
    result = st.PGD(steps=10, random_start=False)(NET, X, wrong, st.Linf(1e-6))
    assert result.backwards.tolist() == [1, 10] * 4
    assert result.success.tolist() == [True, False] * 4


class Prepared:
    """A faster model that stands for another, and may answer differently."""

    def __init__(self, original, fast):
        self.original, self.fast = original, fast

    def __call__(self, x):
        return self.fast(x)


def test_what_a_prepared_model_claims_is_confirmed_on_the_one_given():
    """A copy that gives in too early: rows it alone calls won are attacked again on the model itself."""

    def eager(x):
        return threshold(x) + torch.tensor([0.0, 0.03])

    threat, attack = st.Linf(0.1), st.PGD(steps=20, random_start=False)
    plain = attack(threshold, CALM, CLASS_0, threat)
    fooled = attack(Prepared(threshold, eager), CALM, CLASS_0, threat)
    assert plain.success.all()
    assert fooled.success.all()
    assert (fooled.score > 0).all()
    assert attack(Prepared(threshold, eager), CALM, CLASS_0, st.Linf(0.04)).success.tolist() == [False, False]


def test_every_question_to_a_prepared_model_is_counted_too():
    fast, given = Counting(small_net(8)), Counting(small_net(8))
    result = st.PGD(steps=6)(Prepared(given, fast), X, GOAL, st.Linf(2 / 255))
    assert fast.forwards + given.forwards == int(result.forwards.sum())
    assert fast.backwards + given.backwards == int(result.backwards.sum())


def test_a_copy_that_keeps_its_promise_is_asked_again_only_where_rounding_could_decide():
    threat = st.Linf(1e-6)
    lost = -st.FGSM()(NET, X, GOAL, threat).score
    fast = Prepared(NET, NET)
    for fast.tolerance in (0.0, float(lost.median()) / 20, 1e3):  # no output is above 1
        rounding = 20 * fast.tolerance * NET(X).abs().amax(1).clamp(min=1)
        assert st.FGSM()(fast, X, GOAL, threat).forwards.tolist() == [2 + bool(near) for near in lost < rounding]


class Noisy(nn.Module):
    """A model with randomness of its own, from torch's global state."""

    def forward(self, x):
        return NET(x + 0.05 * torch.randn_like(x))


def test_random_models_answer_the_same_again_and_leave_the_state_alone():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first = st.PGD(steps=4)(Noisy(), X, GOAL, st.Linf(0.05))
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(4)
    again = st.PGD(steps=4)(Noisy(), X, GOAL, st.Linf(0.05))
    assert torch.equal(first.x_adv, again.x_adv)
    other = st.PGD(steps=4)(Noisy(), X, GOAL, st.Linf(0.05), generator=1)
    assert not torch.equal(first.x_adv, other.x_adv)


def test_inputs_that_carry_a_gradient_stay_as_they_are():
    x = X.clone().requires_grad_()
    result = st.PGD(steps=3)(NET, x, GOAL, st.Linf(0.05))
    assert x.requires_grad
    assert x.grad is None
    assert not result.x_adv.requires_grad


@pytest.mark.parametrize("attack", [st.PGD(steps=4), st.APGD(steps=4), st.MIFGSM(steps=4)])
def test_single_precision(attack):
    net, x = small_net(8).float(), X.float()
    for threat in (st.Linf(8 / 255), st.L2(0.3)):
        result = attack(net, x, st.Untargeted(net(x).argmax(1)), threat)
        assert result.x_adv.dtype == torch.float32
        assert (result.size <= threat.eps + 1e-6).all()
        assert float(result.x_adv.min()) >= 0
        assert float(result.x_adv.max()) <= 1


def test_tables_are_attacked_like_pictures():
    model = nn.Sequential(nn.Linear(7, 9), nn.ReLU(), nn.Linear(9, 3)).double()
    x = torch.randn(5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for attack in (st.FGSM(), st.PGD(steps=5), st.APGD(steps=5), st.MIFGSM(steps=5)):
        result = attack(model, x, st.Untargeted(model(x).argmax(1)), st.L2(0.5, box=None))
        assert result.x_adv.shape == x.shape
        assert (result.size <= 0.5 + 1e-6).all()
