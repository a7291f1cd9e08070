"""No row is asked more than its budget, and an attack that is cut short ends with the best it has asked about."""

import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.losses import Margin
from struthio.meter import Gone
from struthio.testing import small_inputs, small_net
from struthio.testing.settings import norms_of, plain, quick
from struthio.testing.traces import Counting

NET, X = small_net(8), small_inputs(6, 8)
LABELS = NET(X).argmax(1).detach()
GOAL, THREAT = st.Untargeted(LABELS), st.Linf(8 / 255)


class Dying:
    """Answers so many batches, then is gone."""

    remote = True

    def __init__(self, batches):
        self.batches, self.asked = batches, []

    def __call__(self, x):
        if len(self.asked) == self.batches:
            raise Gone("the server is gone")
        self.asked.append(x.detach().clone())
        return NET(x)


def best_of(asked, row):
    """By hand: of all allowed inputs the smallest win, else that of the highest margin."""
    wins, others = [], []
    for batch in asked:
        x = batch[row : row + 1]
        if not THREAT.allows(X[row : row + 1], x):
            continue
        out = NET(x).detach()
        size, score = float(THREAT.size(X[row : row + 1], x)), float(GOAL[row : row + 1].score(Margin(), out))
        (wins if out.argmax() != LABELS[row] else others).append((size, score, x))
    return min(wins, key=lambda w: w[0])[2] if wins else max(others, key=lambda w: w[1])[2]


@pytest.mark.parametrize("name", sorted(ATTACKS))
@pytest.mark.parametrize("budget", [1, 2, 7])
def test_no_attack_spends_more_than_its_budget(name, budget):
    attack = quick(attack_class(name)())
    at = plain(norms_of(attack)[0]) if norms_of(attack) else None
    if at is None:
        pytest.skip("has no norm")
    at = at[torch.arange(3)]
    model = Counting(at.model)
    result = attack(model, at.x, at.goal, at.threat, 7, budget=budget)
    assert int(result.forwards.max()) <= budget
    assert int(result.forwards.sum()) == model.forwards
    assert at.threat.allows(at.x, result.x_adv).all()
    with torch.no_grad():
        assert torch.equal(result.success, at.goal.success(at.model(result.x_adv)))


@pytest.mark.parametrize("attack", [st.PGD(steps=5), st.APGD(steps=6), st.DDN(steps=6), st.Square(queries=20)])
def test_a_budget_that_suffices_changes_nothing(attack):
    threat = st.L2(0.3)
    free = attack(NET, X, GOAL, threat, 1)
    bound = attack(NET, X, GOAL, threat, 1, budget=int(free.forwards.max()) + 1)
    for name in ("x_adv", "success", "size", "score", "forwards", "backwards"):
        assert torch.equal(getattr(free, name), getattr(bound, name)), name


def test_what_is_left_is_the_best_that_was_asked_about():
    seen = Dying(10**9)
    result = st.PGD(steps=30, keep="last")(seen, X, GOAL, THREAT, 3, budget=6)
    assert result.forwards.tolist() == [6] * 6
    for row in range(len(X)):
        assert torch.equal(result.x_adv[row : row + 1], best_of(seen.asked[:-1], row))


def test_a_row_that_cannot_pay_does_not_stop_the_others():
    """Row 0 is asked five times as often, and has the same answer as it has alone; so have the rest."""

    class Uneven(st.Attack):
        paper = "nobody, 2026"

        def search(self, model, x, goal, threat, generator):
            z = x.clone()
            for _ in range(4):
                first = model.ids == 0
                z = threat.apply(x, 0.5 * (z - x) + generator.uniform(x.shape[1:], x.dtype) * 0.02)
                model(z)
                if first.any():
                    model[first](torch.cat([z[first]] * 4))
            return z

    whole = Uneven()(NET, X, GOAL, THREAT, 3, budget=6)
    assert whole.forwards.tolist() == [6, 5, 5, 5, 5, 5]
    part = Uneven()(NET, X[1:], GOAL[slice(1, None)], THREAT, st.RowGenerator.seeded(3, torch.arange(1, 6)))
    assert torch.equal(whole.x_adv[2:], part.x_adv[1:])


@pytest.mark.parametrize("batches", [1, 4, 9])
def test_a_model_that_is_gone_leaves_what_was_found(batches):
    model = Dying(batches)
    result = st.PGD(steps=30, keep="last")(model, X, GOAL, THREAT, 3)
    for row in range(len(X)):
        assert torch.equal(result.x_adv[row : row + 1], best_of(model.asked, row))
    with torch.no_grad():
        outputs = NET(result.x_adv)
    assert torch.equal(result.success, GOAL.success(outputs))
    assert torch.equal(result.score, GOAL.score(Margin(), outputs))


def test_a_model_that_is_gone_from_the_start_is_an_error():
    with pytest.raises(Gone, match="the server is gone"):
        st.PGD()(Dying(0), X, GOAL, THREAT)


def test_a_view_of_a_wire_is_still_a_wire():
    result = st.Square(queries=20)(st.scores_only(Dying(3)), X, GOAL, st.Linf(1 / 255))
    assert int(result.forwards.max()) == 3


def test_without_budget_and_wire_nothing_is_kept(monkeypatch):
    monkeypatch.setattr("struthio.attacks.base.Kept", None)
    assert len(st.PGD(steps=2)(NET, X, GOAL, THREAT)) == 6


@pytest.mark.parametrize("budget", [0, -1, 2.5, True])
def test_budgets_that_are_none(budget):
    with pytest.raises(UserError, match="budget is"):
        st.PGD()(NET, X, GOAL, THREAT, budget=budget)
