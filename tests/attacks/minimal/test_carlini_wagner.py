"""Carlini and Wagner: agrees with lines written from the paper, moves what lies on a limit, and treats rows alone."""

import pytest
import torch

import struthio as st
from struthio.attacks import CarliniWagner
from struthio.attacks.minimal.carlini_wagner_warm import _balance
from struthio.attacks.minimal.weight import Weight
from struthio.testing import exact_distance, small_inputs, small_net
from tests.attacks.test_linear import far_from_the_boundary, near_the_boundary

NET, X = small_net(8), small_inputs(4, 8)
Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)


def carlini_wagner(x, y, steps, rounds, bend):
    """One input at a time, by torch's own Adam and autograd: the smallest win of all."""
    best, low, high, c = torch.inf, 0.0, torch.inf, 1.0
    for _ in range(rounds):
        w, won = torch.atanh((2 * x - 1) * bend).requires_grad_(), False
        adam = torch.optim.Adam([w], 0.01)
        for _ in range(steps):
            at = (torch.tanh(w) / bend + 1) / 2
            out, size = NET(at)[0], (at - x).square().sum()
            others = out[torch.arange(len(out)) != y].amax()
            if others > out[y]:
                best, won = min(best, float(size.detach().sqrt())), True
            adam.zero_grad()
            (size + c * (out[y] - others).clamp(min=0)).backward()
            adam.step()
        low, high = (low, min(high, c)) if won else (max(low, c), high)
        c = (low + high) / 2 if high < torch.inf else 10 * c
    return best


def test_agrees_with_the_paper():
    inner = X.clamp(0.1, 0.9)  # far from the limits, where clipping has nothing to do
    attack = CarliniWagner(steps=60, rounds=3, c=1.0, patient=True)
    labels = NET(inner).argmax(1)
    result = attack(NET, inner, st.Untargeted(labels), st.L2())
    wanted = [carlini_wagner(inner[[row]], labels[row], 60, 3, 0.9) for row in range(len(X))]
    torch.testing.assert_close(result.size, torch.tensor(wanted, dtype=torch.float64), rtol=1e-4, atol=0)


def test_values_on_a_limit_move():
    """Black and white pictures: the paper's tanh leaves them nearly where they are, a bent one does not."""
    black = (X > 0.5).double()
    goal = st.Untargeted(NET(black).argmax(1))
    moved = CarliniWagner(steps=100, rounds=2, c=10.0)(NET, black, goal, st.L2())
    frozen = CarliniWagner(steps=100, rounds=2, c=10.0, bend=0.999999)(NET, black, goal, st.L2())
    assert moved.success.all()
    assert not frozen.success.all()


def test_more_confidence_costs_length():
    sizes = []
    for kappa in (0.0, 0.3, 0.6):
        result = CarliniWagner(steps=60, rounds=4, c=1.0, kappa=kappa)(NET, X, GOAL, st.L2())
        assert (result.score >= kappa - 1e-6).all()
        sizes.append(result.size)
    assert (sizes[0] < sizes[1]).all()
    assert (sizes[1] < sizes[2]).all()


def test_without_limits():
    result = CarliniWagner(steps=60, rounds=4, c=1.0)(NET, X, GOAL, st.L2(box=None))
    assert result.success.all()


def test_a_row_that_gets_no_better_ends_its_round_alone():
    """The others go on: all counts are those of rows attacked one by one."""
    attack = CarliniWagner(steps=100, rounds=2, c=1.0)
    together = attack(NET, X, GOAL, st.L2())
    alone = [attack(NET, X[[row]], GOAL[torch.tensor([row])], st.L2()) for row in range(len(X))]
    assert together.forwards.tolist() == [int(one.forwards) for one in alone]
    assert len(set(together.forwards.tolist())) > 1
    patient = CarliniWagner(steps=100, rounds=2, c=1.0, patient=True)(NET, X, GOAL, st.L2())
    assert (patient.forwards == 201).all()


def test_the_weight_is_searched_a_row_each():
    weight = Weight.first(1e-3, torch.zeros(2, 1))
    weight.tried(torch.tensor([False, True]))
    torch.testing.assert_close(weight.value, torch.tensor([1e-2, 5e-4]))
    weight.tried(torch.tensor([True, False]))
    torch.testing.assert_close(weight.value, torch.tensor([5.5e-3, 7.5e-4]))


@pytest.mark.parametrize("c", [1e-6, 1e-3, 1e4])
def test_warm_rounds_need_no_good_first_c(c):
    """Near the boundary of a linear model, where rounds that begin anew end at 1.7 times the distance."""
    model, x, labels = near_the_boundary(2)
    result = CarliniWagner(steps=60, rounds=5, c=c, warm=True)(model, x, st.Untargeted(labels), st.L2())
    share = result.size / exact_distance(model, x, labels, 2)
    assert result.success.all()
    assert share.min() > 1 - 1e-6
    assert share.max() < 1.03, share.tolist()


def test_warm_rounds_arrive_where_rounds_that_begin_anew_are_too_short():
    """Rows far from the boundary: thirty steps of a hundredth do not lead there."""
    model, x, labels = far_from_the_boundary(0)
    anew, warm = (
        CarliniWagner(steps=30, rounds=8, warm=warm, patient=True)(model, x, st.Untargeted(labels), st.L2())
        for warm in (False, True)
    )
    assert not anew.success.all()
    assert warm.success.all()
    assert (warm.backwards == 240).all()
    assert (warm.size <= 1.05 * exact_distance(model, x, labels, 2)).all()


def test_warm_rounds_treat_rows_alone():
    attack = CarliniWagner(steps=15, rounds=4, warm=True, kappa=0.1)
    together = attack(NET, X, GOAL, st.L2())
    assert (together.score[together.success] >= 0.1 - 1e-6).all()
    alone = torch.cat([attack(NET, X[[row]], GOAL[torch.tensor([row])], st.L2()).x_adv for row in range(len(X))])
    torch.testing.assert_close(alone, together.x_adv, rtol=0, atol=1e-9)


def test_the_balance_of_length_and_margin():
    """On the nearest point of a plane at distance d, with the slope u: c = 2 d / |u|."""
    u = torch.tensor([[3.0, 4.0], [0.0, 2.0]]).double()
    z = torch.tensor([0.5, 1.5])[:, None] * u / u.norm(dim=1, keepdim=True)
    torch.testing.assert_close(_balance(z, u), torch.tensor([0.2, 1.5]).double())


def test_options_are_checked():
    for option, value in (("steps", 0), ("rounds", 0), ("c", 0.0), ("kappa", -1.0), ("step", 0.0), ("bend", 1.0)):
        with pytest.raises(st.UserError, match=option):
            CarliniWagner(**{option: value})
