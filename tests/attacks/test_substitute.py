"""A copy trained from labels: what is asked, in closed form; budgets, endings and going on; the copy's worth."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

import struthio as st
from struthio import UserError
from struthio.attacks.substitute import small_network
from struthio.meter import Ended
from struthio.testing import linear_model, small_inputs
from struthio.testing.traces import Counting, Failing, changed, snapshot

ORACLE = linear_model(48, classes=4, seed=1)
X = small_inputs(20, 4)
ORACLE.bias.data -= ORACLE(X).mean(0).detach()
QUICK = st.Substitute(rounds=4, epochs=2, lr=0.01, batch=16)


def linear(shape, classes):
    return nn.Sequential(nn.Flatten(), nn.Linear(shape.numel(), classes))


def test_inputs_double_each_round_and_are_asked_about_once():
    oracle = Counting(ORACLE)
    found = list(QUICK.each_round(oracle, X))
    assert [part.queries for part in found] == [20, 40, 80, 160]
    assert [part.rounds for part in found] == [1, 2, 3, 4]
    assert oracle.forwards == len(found[-1].x) == 160
    assert torch.equal(torch.cat(oracle.asked), found[-1].x)
    assert found[-1].ended is None
    assert found[-1].x.min() >= 0
    assert found[-1].x.max() <= 1


def test_labels_are_those_of_the_oracle_and_never_the_true_ones():
    found = QUICK.train(ORACLE, X)
    assert torch.equal(found.labels, ORACLE(found.x).argmax(1))
    hidden = QUICK.train(st.labels_only(ORACLE), X)
    assert torch.equal(found.x, hidden.x)


def test_new_inputs_lie_a_step_along_the_sign_of_the_labelled_score():
    """For a linear copy the slope of class k's score is its row of weights, whatever the input."""
    seen = []
    for part in st.Substitute(rounds=3, epochs=1, period=1, network=linear, box=None).each_round(ORACLE, X):
        seen.append((part.x.clone(), part.labels.clone(), part.model[1].weight.detach().clone()))
    for turn, sign in ((0, 1), (1, -1)):  # a period of 1 turns the step round every time
        x, labels, weight = seen[turn]
        want = x + sign * 0.1 * weight[labels].sign().reshape(x.shape)
        torch.testing.assert_close(seen[turn + 1][0][len(x) :], want)


def test_limits_cut_new_inputs():
    free, kept = (replace(QUICK, rounds=2, epochs=1, box=box).train(ORACLE, X) for box in (None, st.Box(0, 1)))
    assert free.x.min() < 0
    torch.testing.assert_close(kept.x, free.x.clamp(0, 1))


def test_the_reservoir_adds_no_more_than_it_holds():
    """Papernot et al., 2016: n * 2^sigma + kappa * (rho - sigma) labels."""
    for doublings, sizes in ((1, [20, 40, 70, 100]), (2, [20, 40, 80, 110])):
        found = replace(QUICK, most=30, doublings=doublings).each_round(ORACLE, X)
        assert [len(part.x) for part in found] == sizes


def test_every_input_has_the_same_chance_in_the_reservoir():
    generator = st.RowGenerator.seeded(0, torch.arange(10))
    chosen = torch.stack(
        [torch.bincount(replace(QUICK, most=4)._parents(generator.fold(turn), 4), minlength=10) for turn in range(600)]
    )
    assert (chosen.sum(1) == 4).all()
    assert (chosen.double().mean(0) - 0.4).abs().max() < 0.08


def test_the_step_turns_round_after_each_period():
    steps = []

    class Watched(st.Substitute):
        def _moved(self, net, x, labels, turn):
            moved = super()._moved(net, x, labels, turn)
            steps.append(float(net[1].weight.detach()[labels[0]].sign() @ (moved - x)[0].flatten() / 48))
            return moved

    Watched(rounds=6, epochs=1, period=2, most=5, doublings=0, network=linear, box=None).train(ORACLE, X)
    assert steps == pytest.approx([0.1, 0.1, -0.1, -0.1, 0.1])


@pytest.mark.parametrize("budget", [1, 20, 33, 160, 500])
def test_the_budget_is_kept_and_what_there_is_is_used(budget):
    oracle = Counting(ORACLE)
    found = QUICK.train(oracle, X, budget=budget)
    assert oracle.forwards == found.queries == len(found.x) == min(budget, 160)
    assert (found.ended is None) == (budget >= 160)
    assert found.ended is None or "budget is spent" in found.ended
    assert found.model(X).shape == (20, 4)


def test_training_goes_on_where_the_budget_ended_it():
    whole, short = QUICK.train(ORACLE, X), QUICK.train(ORACLE, X, budget=50)
    oracle = Counting(ORACLE)
    rest = QUICK.train(oracle, X, known=short)
    assert oracle.forwards == rest.queries == 110
    assert torch.equal(rest.x, whole.x)
    assert torch.equal(rest.model(X), whole.model(X))


def test_an_oracle_that_ends_leaves_what_it_answered():
    class Mortal(nn.Module):
        answers = 50

        def forward(self, x):
            outputs = ORACLE(x).detach()
            if len(x) > self.answers:
                ended = Ended("it is gone")
                ended.outputs = outputs.clone()
                ended.outputs[self.answers :] = torch.nan
                self.answers = 0
                raise ended
            self.answers -= len(x)
            return outputs

    found = QUICK.train(Mortal(), X)
    assert found.ended == "it is gone"
    assert len(found.x) == 50
    assert torch.equal(found.labels, ORACLE(found.x).argmax(1))

    class Dead(nn.Module):
        def forward(self, x):
            raise Ended("nobody there")

    with pytest.raises(Ended, match="nobody there"):
        QUICK.train(Dead(), X)


def test_one_seed_one_copy_and_no_trace():
    before = snapshot(ORACLE, X)
    first, again, other = (QUICK.train(ORACLE, X, seed) for seed in (0, 0, 1))
    assert not changed(before, snapshot(ORACLE, X))
    assert torch.equal(first.model(X), again.model(X))
    assert not torch.equal(first.model(X), other.model(X))
    assert not first.model.training
    with pytest.raises(RuntimeError, match="made to break"), torch.no_grad():
        QUICK.train(Failing(ORACLE, at=2), X)
    assert not changed(before, snapshot(ORACLE, X))
    with torch.no_grad():
        assert torch.equal(QUICK.train(ORACLE, X).x, first.x)


def test_the_copy_agrees_and_what_fools_it_fools_the_oracle():
    """More than a change of the same size that any other model suggests."""
    found = st.Substitute(rounds=4, epochs=20, lr=0.05, network=linear).train(ORACLE, small_inputs(100, 4))
    x = small_inputs(200, 4, seed=5)
    labels = ORACLE(x).argmax(1)
    assert (found.model(x).argmax(1) == labels).double().mean() > 0.55
    goal, threat = st.Untargeted(labels), st.Linf(0.05)
    stranger = linear_model(48, classes=4, seed=9)
    passed = st.Via(st.FGSM(), found.model)(ORACLE, x, goal, threat).rate
    assert passed > 0.7 * st.FGSM()(ORACLE, x, goal, threat).rate
    assert passed > 5 * st.Via(st.FGSM(), stranger)(ORACLE, x, goal, threat).rate


def test_a_scikit_learn_classifier_is_an_oracle():
    neighbors = pytest.importorskip("sklearn.neighbors")
    near = neighbors.KNeighborsClassifier(1).fit(X.flatten(1).numpy(), np.array(list("abcd"))[ORACLE(X).argmax(1)])
    found = QUICK.train(near, X)
    assert found.classes == 4
    assert torch.equal(found.labels[:20], ORACLE(X).argmax(1))


def test_an_endpoint_is_an_oracle_within_its_own_budget():
    pytest.importorskip("httpx")
    from tests.service import Running, Service

    service = Service(ORACLE.float())
    try:
        with Running(service) as running:
            endpoint = st.Endpoint(f"{running.url}/labels", outputs="labels", classes=4, budget=70)
            found = QUICK.train(endpoint, X.float())
    finally:
        ORACLE.double()
    assert service.inputs == found.queries == endpoint.asked == len(found.x) == 70
    assert "budget is spent" in found.ended


def test_networks_fit_any_input():
    for shape in ((3, 8, 8), (1, 28, 20), (3, 32, 32), (1, 5, 5), (7,)):
        assert small_network(torch.Size(shape), 6)(torch.rand(2, *shape)).shape == (2, 6)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"rounds": 0}, "rounds"),
        ({"epochs": 0}, "epochs"),
        ({"period": 0}, "period"),
        ({"batch": 0}, "batch"),
        ({"most": 0}, "most"),
        ({"doublings": -1}, "doublings"),
        ({"lr": 0.0}, "lr"),
        ({"step": 0.0}, "step"),
    ],
)
def test_options_that_cannot_be_meant(options, words):
    with pytest.raises(UserError, match=words):
        st.Substitute(**options)


def test_arguments_that_cannot_be_meant():
    for given, words in (({"x": X * 3}, "allows"), ({"x": X, "budget": 0}, "budget")):
        with pytest.raises(UserError, match=words):
            QUICK.train(ORACLE, **given)
    with pytest.raises(UserError, match="training mode"):
        QUICK.train(nn.Sequential(nn.Dropout(), ORACLE).train(), X)
