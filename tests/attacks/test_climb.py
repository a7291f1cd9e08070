"""The loop that asks, and what all attacks that see scores have in common: they keep to their budget."""

from dataclasses import replace

import pytest
import torch

import struthio as st
from struthio.attacks.climb import changeable, climb, payable
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import linear_model, small_inputs, small_net
from struthio.testing.settings import RADII, norms_of, plain, quick

SCORES = [name for name in ATTACKS if attack_class(name).access == "scores"]


class Steps:
    """Proposes one value after another, one step up, and remembers which of them helped."""

    def start(self, task):
        return {"helped": torch.zeros_like(task.x.flatten(1))}

    def propose(self, task, z, state, query):
        if query == 0:
            return z, state
        up = torch.zeros_like(z).flatten(1)
        up[:, query - 1] = 1.0
        return z + up.reshape(z.shape), {**state, "query": torch.full_like(task.rows, query)}

    def learn(self, state, rose):
        if "query" in state:
            state["helped"].scatter_(1, state["query"][:, None] - 1, rose[:, None].double())
        self.helped = state["helped"]
        return state


def test_keeps_what_raises_the_score():
    """On a linear model just the steps along positive slopes are kept."""
    model, x = linear_model(8), torch.zeros(3, 8, dtype=torch.float64)
    with torch.no_grad():
        model.bias[:] = torch.tensor([100.0, -100.0])
    labels, rule = torch.zeros(3, dtype=torch.int64), Steps()
    meter = Metered(model, 3)
    generator = RowGenerator.seeded(0, torch.arange(3))
    threat = st.Linf(1.0, box=None)
    found = climb(meter, x, st.Untargeted(labels), threat, generator, queries=9, rule=rule, loss=st.Margin())
    gain = (model.weight[1] - model.weight[0] > 0).double()
    assert torch.equal(found, gain.expand(3, 8))
    assert torch.equal(rule.helped, gain.expand(3, 8))
    assert meter.forwards.tolist() == [9, 9, 9]


def test_won_rows_leave():
    model, x = linear_model(8), torch.zeros(2, 8, dtype=torch.float64)
    slope = (model.weight[1] - model.weight[0]).detach()
    steps = torch.cumsum(slope.clamp(min=0), 0)
    asked = 4  # questions: no change, then values one to three
    with torch.no_grad():
        model.bias[:] = torch.tensor([(steps[1] + steps[2]) / 2, 0.0]) if steps[2] > steps[1] else torch.zeros(2)
    meter, generator = Metered(model, 2), RowGenerator.seeded(0, torch.arange(2))
    goal, threat = st.Untargeted(torch.tensor([0, 1])), st.Linf(1.0, box=None)
    climb(meter, x, goal, threat, generator, queries=9, rule=Steps(), loss=st.Margin())
    assert steps[2] > steps[1]
    assert meter.forwards.tolist() == [asked, 1]  # the second row is won by its own point


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("budget", [1, 2, 7, 40])
def test_budget(name, budget):
    """One question a row is left for the judge, whatever the attack would ask."""
    attack = quick(attack_class(name)())
    at = plain(norms_of(attack)[0])
    meter = Metered(at.model, len(at.x), budget)
    generator = RowGenerator.seeded(0, at.ids)
    x_adv = attack.search(meter, at.x, at.goal, at.threat, generator)
    assert x_adv.shape == at.x.shape
    assert (meter.forwards < budget).all()


@pytest.mark.parametrize("name", SCORES)
def test_queries_are_the_most(name):
    attack = attack_class(name)()
    if not hasattr(attack, "queries"):
        pytest.skip("its questions follow from other options")
    attack = replace(quick(attack), queries=60)
    for norm in norms_of(attack):
        at = plain(norm)
        threat = at.threat.at(RADII[norm] / 8) if norm != "l0" else at.threat.at(1)
        assert int(at.run(attack, threat=threat).forwards.max()) <= 60 + 1  # the judge


def test_payable():
    meter = Metered(small_net(), 3, 5)
    meter.forwards[:] = torch.tensor([0, 3, 4])
    assert payable(meter).tolist() == [True, True, False]
    assert payable(meter, 2).tolist() == [True, False, False]
    assert payable(Metered(small_net(), 2)).all()


def test_changeable():
    x = small_inputs(2, 5)
    x[0, 0, 0, 0], x[0, 0, 0, 1] = 0.0, 0.5
    mask = torch.rand(2, 3, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5
    for threat in (st.Linf(0.1), st.L0(2), st.Levels(st.L2(1.0))):
        masked = st.Masked(threat, mask, each=True) if not isinstance(threat, st.Levels) else threat
        task = Task.whole(
            Metered(small_net(5), 2),
            x,
            st.Untargeted(torch.tensor([0, 1])),
            masked,
            RowGenerator.seeded(0, torch.arange(2)),
        )
        expected = mask if masked is not threat else torch.ones_like(mask)
        assert torch.equal(changeable(task), expected)


@pytest.mark.parametrize("name", SCORES)
def test_a_threat_that_turns(name):
    """Where z is no change of x, random search works all the same and the others say that they cannot."""
    at = plain("linf")
    attack = quick(attack_class(name)())
    threat = st.threat("spatial:30:0.1")
    if name == "random-search":
        assert attack(at.model, at.x, at.goal, threat, 0).success.any()
        return
    with pytest.raises(st.UserError, match="the threat is spatial"):
        attack(at.model, at.x, at.goal, threat, 0)
