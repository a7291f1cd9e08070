"""EAD: agrees with lines written from the paper, keeps what its rule prefers, and thins changes out."""

import pytest
import torch

import struthio as st
from struthio.attacks import EAD
from struthio.testing import small_inputs, small_net

NET, X = small_net(8), small_inputs(4, 8)
Y = NET(X).argmax(1)
GOAL = st.Untargeted(Y)


def margin(at, y):
    out = NET(at)[0]
    return out[torch.arange(len(out)) != y].amax() - out[y]


def ead(x, y, steps, rounds, c, beta):
    """One input at a time, by autograd: the least L1 of the wins where a slope is taken, and of the shrunken points."""
    best, low, high = torch.inf, 0.0, torch.inf
    for _ in range(rounds):
        slack, last, won = x.clone(), x, False
        for k in range(steps):
            slack = slack.detach().requires_grad_()
            ahead_of = margin(slack, y)
            if ahead_of > 0:
                best, won = min(best, float((slack - x).abs().sum().detach())), True
            sum_of_both = (slack - x).square().sum() + c * (-ahead_of).clamp(min=0)
            ahead = slack - 0.01 * (1 - k / steps) ** 0.5 * torch.autograd.grad(sum_of_both, slack)[0]
            thin = torch.where(ahead - x > beta, (ahead - beta).clamp(max=1), x)
            thin = torch.where(ahead - x < -beta, (ahead + beta).clamp(min=0), thin).detach()
            if float((thin - x).abs().sum()) < best and margin(thin, y) > 0:
                best, won = float((thin - x).abs().sum()), True
            slack, last = (thin + k / (k + 3) * (thin - last)).clamp(0, 1), thin
        low, high = (low, min(high, c)) if won else (max(low, c), high)
        c = (low + high) / 2 if high < torch.inf else 10 * c
    return best


def test_a_step_costs_at_most_two_forwards_and_a_backward():
    result = EAD(steps=60, rounds=4, c=0.1, beta=1e-2, patient=True)(NET, X, GOAL, st.L1())
    assert (result.backwards == 240).all()
    assert (result.forwards <= 2 * 240 + 1).all()
    assert (result.forwards < 2 * 240).any(), "shrunken points that are no smaller than a win are not asked about"


def test_agrees_with_the_paper():
    result = EAD(steps=60, rounds=4, c=0.1, beta=1e-2, patient=True)(NET, X, GOAL, st.L1())
    wanted = [ead(X[[row]], Y[row], 60, 4, 0.1, 1e-2) for row in range(len(X))]
    assert result.success.all()
    torch.testing.assert_close(result.size, torch.tensor(wanted, dtype=torch.float64), rtol=1e-6, atol=0)


def test_more_shrinkage_changes_fewer_values():
    counts = []
    for beta in (0.0, 1e-3, 1e-2):
        result = EAD(steps=100, rounds=5, c=1.0, beta=beta)(NET, X, GOAL, st.L1())
        assert result.success.all()
        counts.append((result.x_adv != X).flatten(1).sum(1).double().mean())
    assert counts[0] > counts[1] > counts[2]


def test_each_rule_keeps_what_is_least_by_it():
    attack = {rule: EAD(steps=60, rounds=4, c=1.0, rule=rule) for rule in ("L1", "EN", "norm")}
    change = {rule: made(NET, X, GOAL, st.L1()).x_adv - X for rule, made in attack.items()}
    assert torch.equal(change["L1"], change["norm"])

    def total(z):
        return z.abs().flatten(1).sum(1)

    def elastic(z):
        return z.square().flatten(1).sum(1) + 1e-3 * total(z)

    assert (total(change["L1"]) <= total(change["EN"])).all()
    assert (elastic(change["EN"]) <= elastic(change["L1"])).all()
    assert not torch.equal(change["L1"], change["EN"])


def test_a_win_within_the_radius_is_not_lost_to_a_lesser_one_beyond_it():
    """By EN a change of many small values is less, though its L1 may be beyond the radius."""
    radius = EAD(steps=60, rounds=4, c=1.0, rule="L1")(NET, X, GOAL, st.L1()).size * 1.001
    assert EAD(steps=60, rounds=4, c=1.0, rule="EN")(NET, X, GOAL, st.L1(radius)).success.all()


def test_more_confidence_costs_size():
    sizes = []
    for kappa in (0.0, 0.3):
        result = EAD(steps=60, rounds=4, c=1.0, kappa=kappa)(NET, X, GOAL, st.L1())
        assert (result.score >= kappa - 1e-6).all()
        sizes.append(result.size)
    assert (sizes[0] < sizes[1]).all()


def test_options_are_checked():
    wrong = (("steps", 0), ("rounds", 0), ("c", 0.0), ("beta", -1.0), ("rule", "L3"), ("kappa", -1.0), ("step", 0.0))
    for option, value in wrong:
        with pytest.raises(st.UserError, match=option):
            EAD(**{option: value})
