"""Carlini and Wagner in Linf: agrees with lines written from the paper, moves what lies on a limit, row by row."""

import pytest
import torch

import struthio as st
from struthio.attacks import CarliniWagnerLinf
from struthio.testing import small_inputs, small_net

NET, X = small_net(5), small_inputs(3, 5).clamp(0.1, 0.9)  # far from the limits, where clipping has nothing to do
with torch.no_grad():
    Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)
QUICK = {"steps": 30, "c": 0.1}


def carlini_wagner(x, y, steps, c, largest, shrink, finest, bend):
    """One input at a time, by torch's own Adam and autograd: the lowest win of all."""
    best, tau = torch.inf, float(torch.maximum(x, 1 - x).amax())
    w = torch.atanh((2 * x - 1) * bend)
    while c <= largest and tau > finest:
        w, won = w.detach().requires_grad_(), False
        adam = torch.optim.Adam([w], 0.005)
        for step in range(steps):
            change = (torch.tanh(w) / bend + 1) / 2 - x
            out, height = NET(x + change)[0], float(change.detach().abs().amax())
            missing = out[y] - out[torch.arange(len(out)) != y].amax()
            best = min(best, height) if missing < 0 else best
            if won := bool(missing < 0 and height <= tau):
                break
            adam.zero_grad()
            ((change.abs() - tau).clamp(min=0).sum() + c * missing.clamp(min=0)).backward()
            if step < steps - 1:
                adam.step()
        tau, c = (shrink * min(tau, best), c) if won else (tau, 2 * c)
    return best


def test_agrees_with_the_paper():
    """A row that has not won by the end of its steps goes on from where it was last looked at."""
    options = {"steps": 20, "c": 0.1, "largest": 1.0, "shrink": 0.8, "finest": 1 / 64}
    result = CarliniWagnerLinf(**options, patient=True)(NET, X, GOAL, st.Linf())
    wanted = [carlini_wagner(X[[row]], Y[row], bend=0.9, **options) for row in range(len(X))]
    torch.testing.assert_close(result.size, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=0)
    assert result.success.all()


def test_a_row_is_content_at_the_finest_height():
    fine, coarse = (CarliniWagnerLinf(**QUICK, finest=finest)(NET, X, GOAL, st.Linf()) for finest in (1 / 256, 0.5))
    assert (coarse.size >= fine.size).all()
    assert coarse.forwards.sum() < fine.forwards.sum()
    assert coarse.success.all()


def test_a_row_that_is_not_won_in_its_steps_goes_on_with_twice_the_weight():
    options = {"steps": 10, "c": 1e-3}
    little, enough = (CarliniWagnerLinf(**options, largest=top)(NET, X, GOAL, st.Linf()) for top in (2e-3, 2.0))
    assert little.success.tolist() == [False, True, True]
    assert enough.success.all()


def test_values_on_a_limit_move():
    black = (X > 0.5).double()
    goal = st.Untargeted(NET(black).argmax(1))
    moved = CarliniWagnerLinf(**QUICK)(NET, black, goal, st.Linf())
    frozen = CarliniWagnerLinf(**QUICK, bend=0.999999)(NET, black, goal, st.Linf())
    assert moved.success.all()
    assert not frozen.success.all()


def test_more_confidence_costs_height():
    near, sure = (CarliniWagnerLinf(**QUICK, kappa=kappa)(NET, X, GOAL, st.Linf()) for kappa in (0.0, 0.3))
    assert (sure.score >= 0.3 - 1e-6).all()
    assert (sure.size > near.size).all()


def test_a_target_is_reached():
    with torch.no_grad():
        targets = NET(X).argsort(1)[:, -2]
    result = CarliniWagnerLinf(**QUICK)(NET, X, st.Targeted(targets), st.Linf())
    assert result.success.all()
    assert torch.equal(NET(result.x_adv).argmax(1), targets)


def test_every_row_searches_at_its_own_pace():
    attack = CarliniWagnerLinf(**QUICK)
    together = attack(NET, X, GOAL, st.Linf())
    alone = [attack(NET, X[[row]], GOAL[torch.tensor([row])], st.Linf()) for row in range(len(X))]
    assert together.forwards.tolist() == [int(one.forwards) for one in alone]
    assert len(set(together.forwards.tolist())) > 1


def test_options_are_checked():
    for option, value in (("steps", 0), ("c", 0.0), ("largest", 0.0), ("shrink", 1.0), ("finest", 0.0),
                          ("kappa", -1.0), ("step", 0.0), ("bend", 1.0)):  # fmt: skip
        with pytest.raises(st.UserError, match=option):
            CarliniWagnerLinf(**{option: value})
