"""Attacks whose search sees another model: what the source is worth, what the target is asked, and every promise."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio import UserError
from struthio.testing import LinearModel, attack_promises, linear_model, small_inputs, small_net
from struthio.testing.account import asks_no_more_than_it_declares, counts_every_query
from struthio.testing.conduct import treats_every_row_alone
from struthio.testing.traces import Counting, Failing, changed, snapshot


class AnySide(nn.Module):
    """A source for pictures of any side."""

    def __init__(self, seed):
        super().__init__()
        self.net = small_net(8, seed=seed)

    def forward(self, x):
        return self.net(nn.functional.adaptive_avg_pool2d(x, 8))


SOURCE, OTHER = AnySide(3).eval(), AnySide(4).eval()
VIAS = {
    "mi-fgsm": st.Via(st.MIFGSM(), SOURCE),
    "pgd, two sources": st.Via(st.PGD(restarts=2), st.LogitEnsemble((SOURCE, OTHER), average="probabilities").eval()),
    "square": st.Via(st.Square(), SOURCE),
}
# The target is asked once, so there is no second question at which it could break; a test of its own follows.
PROMISES = [
    promise
    for promise in attack_promises({"source": (OTHER,)})
    if promise.__name__ != "leaves_no_trace_when_the_model_breaks"
]
NET, X = small_net(8), small_inputs(8, 8)
GOAL, THREAT = st.Untargeted(NET(X).argmax(1)), st.Linf(8 / 255)


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
def test_promises(promise):
    promise(VIAS["mi-fgsm"], norms=("linf",))


@pytest.mark.parametrize("name", ["pgd, two sources", "square"])
@pytest.mark.parametrize("promise", [treats_every_row_alone, counts_every_query, asks_no_more_than_it_declares])
def test_promises_of_others(name, promise):
    promise(VIAS[name], norms=("linf",))


def test_a_target_that_breaks_and_a_source_that_breaks():
    for broken in (
        lambda: VIAS["mi-fgsm"](Failing(NET, at=1), X, GOAL, THREAT),
        lambda: st.Via(st.MIFGSM(), Failing(SOURCE, at=3).eval())(NET, X, GOAL, THREAT),
    ):
        before = snapshot(nn.ModuleList([NET, SOURCE]), X)
        with pytest.raises(RuntimeError, match="made to break"):
            broken()
        assert not changed(before, snapshot(nn.ModuleList([NET, SOURCE]), X))


def test_the_source_is_left_as_it_was():
    before = snapshot(SOURCE)
    VIAS["mi-fgsm"](NET, X, GOAL, THREAT)
    assert not changed(before, snapshot(SOURCE))


def test_a_linear_source_moves_a_linear_target_by_what_their_weights_share():
    """Scores (-s, s): FGSM on the source moves the target's s by eps times the sum of w_target sign(w_source)."""
    source, target = linear_model(48, seed=1), linear_model(48, seed=2)
    x = small_inputs(8, 4) * 0.5 + 0.25
    labels, eps = target(x).argmax(1), 0.02
    found = st.Via(st.FGSM(), source)(target, x, st.Untargeted(labels), st.Linf(eps))
    away = torch.where(labels == 1, -1, 1)  # the way in which s must go
    shift = away * eps * (target.weight[1] * source.weight[1].sign()).sum()
    s = (target(x)[:, 1] + shift).detach()
    torch.testing.assert_close(target(found.x_adv)[:, 1].detach(), s)
    assert torch.equal(found.success, (s > 0) != (labels == 1))


@pytest.mark.parametrize("average", ["logits", "probabilities", "losses"])
def test_an_ensemble_of_sources_in_closed_form(average):
    """Of two linear sources with two classes, FGSM follows the sign of w1 + w2, each weighed by how unsure it is."""
    sources, target = [linear_model(48, seed=seed) for seed in (1, 2)], linear_model(48, seed=3)
    x = small_inputs(8, 4) * 0.5 + 0.25
    labels = torch.arange(8) % 2
    s = torch.stack([source(x)[:, 1] for source in sources]).detach()
    p = torch.where(labels == 1, s, -s).mul(2).sigmoid()  # of the label, by each source
    weight = {"logits": torch.ones_like(p), "probabilities": p * (1 - p), "losses": 1 - p}[average]
    slope = torch.einsum("mn,md->nd", weight, torch.stack([source.weight[1] for source in sources]).detach())
    want = x + 0.02 * slope.reshape(x.shape).sign() * torch.where(labels == 1, -1, 1).reshape(-1, 1, 1, 1)
    attack = st.Via(st.FGSM(loss=st.Logit()), st.LogitEnsemble(sources, average=average).eval())
    if average == "logits":
        attack = st.Via(st.FGSM(), attack.source)
    torch.testing.assert_close(attack(target, x, st.Untargeted(labels), st.Linf(0.02)).x_adv, want)


def test_the_target_as_its_own_source_is_the_attack_itself():
    for attack in (st.PGD(steps=5), st.MIFGSM(), st.DDN(steps=10)):
        threat = st.L2() if attack == st.DDN(steps=10) else THREAT
        direct, via = attack(NET, X, GOAL, threat), st.Via(attack, NET)(NET, X, GOAL, threat)
        assert torch.equal(direct.x_adv, via.x_adv)
        assert torch.equal(direct.success, via.success)
        assert via.forwards.tolist() == [1] * 8
        assert via.backwards.tolist() == [0] * 8


def test_repetitions_ask_the_target_once_each_and_only_on_rows_that_hold():
    target = Counting(NET).eval()
    result = st.Repeat(st.Via(st.PGD(steps=2, step=1.0), SOURCE), 4)(target, X, GOAL, st.Linf(0.06))
    assert target.forwards == int(result.forwards.sum())
    assert set(result.forwards[~result.success].tolist()) <= {5}
    assert 0 < int(result.success.sum()) < 8
    assert int(result.forwards[result.success].min()) == 2


def test_the_smallest_budget_is_enough():
    result = VIAS["mi-fgsm"](NET, X, GOAL, THREAT, budget=1)
    assert torch.equal(result.x_adv, VIAS["mi-fgsm"](NET, X, GOAL, THREAT).x_adv)
    assert result.forwards.tolist() == [1] * 8


def test_a_cascade_goes_from_one_source_to_the_next():
    parts = [st.Via(st.MIFGSM(), source)(NET, X, GOAL, THREAT).success for source in (SOURCE, OTHER)]
    both = st.Cascade(tuple(st.Via(st.MIFGSM(), source) for source in (SOURCE, OTHER)))(NET, X, GOAL, THREAT)
    assert torch.equal(both.success, parts[0] | parts[1])


def test_a_prepared_source_serves():
    fast = st.prepare(SOURCE, X)
    found = st.Via(st.MIFGSM(), fast)(NET, X, GOAL, THREAT)
    torch.testing.assert_close(found.x_adv, VIAS["mi-fgsm"](NET, X, GOAL, THREAT).x_adv, atol=1e-6, rtol=0)


def test_sources_that_cannot_be_meant():
    with pytest.raises(UserError, match="training mode"):
        st.Via(st.FGSM(), small_net(8).train())(NET, X, GOAL, THREAT)
    with pytest.raises(UserError, match="carry no gradient"):
        st.Via(st.FGSM(), st.scores_only(SOURCE))(NET, X, GOAL, THREAT)
    narrow = LinearModel(torch.randn(2, 192, dtype=torch.float64), torch.zeros(2, dtype=torch.float64))
    with pytest.raises(UserError, match="labels run from"):
        st.Via(st.FGSM(), narrow)(NET, X, st.Untargeted(torch.full((8,), 4)), THREAT)
    with pytest.raises(UserError, match="Substitute"):
        st.Via(st.FGSM(), st.Endpoint("http://127.0.0.1:9/predict"))
    with pytest.raises(UserError, match="MIFGSM is defined in"):
        VIAS["mi-fgsm"](NET, X, GOAL, st.L1(1))
