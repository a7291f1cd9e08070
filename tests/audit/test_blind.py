"""Models without gradient: asked first, and little; a constant one is named and hardly asked at all."""

import math

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.via import Via
from struthio.audit import blind
from struthio.audit.doubts import examine, from_wins
from struthio.audit.setting import settle
from struthio.gradients import Autograd, Estimated
from struthio.testing import exact_distance, linear_model, small_inputs

MODEL = linear_model(192, classes=5)
X = small_inputs(24)
LABELS = MODEL(X).argmax(1)
EPS = 0.03
REACH = torch.as_tensor(exact_distance(MODEL, X, LABELS, math.inf))


class Dead(nn.Module):
    """Weights of zero: there is a slope, and it is zero."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(192, 5)
        self.layer.weight.data.zero_()

    def forward(self, x):
        return self.layer(x.flatten(1).float())


def audited(model, threat=f"linf:{EPS}", **options):
    return st.audit(model, (X, LABELS), threat, level="quick", certify="none", **options).verdict


@pytest.mark.parametrize(
    ("model", "first"), [(st.scores_only(MODEL), "square"), (st.labels_only(MODEL), "labels")], ids=["scores", "labels"]
)
def test_few_questions_find_much_of_what_is_within_reach(monkeypatch, model, first):
    for table in (blind.SQUARES, blind.LABELS):
        monkeypatch.setitem(table, "quick", (100, 200))
    monkeypatch.setitem(blind.STEPS, "quick", 1)
    monkeypatch.setitem(blind.SMALLEST, "quick", 50)
    found = audited(model)
    within = int((REACH < 0.98 * EPS).sum())
    assert 5 < within < 20
    assert within / 3 < found.count.rows - found.count.held <= int((REACH < 1.02 * EPS).sum())
    assert next(iter(found.wins)) == first
    assert math.isfinite(found.median)
    assert found.forwards / 24 < 800
    assert not {"queries-win", "constant-answers"} & {doubt.name for doubt in found.doubts}


def test_a_model_outside_torch_is_asked():
    """Where it must not be given what carries a gradient, nothing may stop the audit from asking."""

    def outside(x):
        return torch.from_numpy(MODEL(x).detach().numpy() + 0 * x.numpy().sum()).softmax(1)

    setting = settle(outside, X, LABELS, st.Linf(EPS), level="quick")
    assert setting.suite[0].name == "square"
    assert {"no-gradient", "probabilities"} <= {doubt.name for doubt in setting.doubts}


@pytest.mark.parametrize("model", [lambda x: torch.arange(5.0).expand(len(x), 5), Dead().eval()], ids=["told", "dead"])
def test_a_constant_model_is_named_and_not_paid_for(model):
    said = int(model(X[:1]).argmax())
    found = st.audit(model, (X, torch.full_like(LABELS, said)), f"linf:{EPS}", level="standard", certify="none").verdict
    assert [doubt.name for doubt in found.doubts] == ["constant-answers"]
    assert f"class {said}" in found.doubts[0].evidence
    assert found.doubts[0].remedy
    assert found.count.held == 24
    assert 24 * 102 <= found.forwards <= 24 * 104  # the clean rows, a hundred random changes, the judge


def test_what_is_not_constant():
    """Rows alike that noise tells apart, and labels: noise may well be of the class of a few rows."""
    same = X[:1].expand(8, *X.shape[1:])
    threat = st.Linf(EPS)
    for model in (MODEL, st.labels_only(MODEL)):
        assert "constant-answers" not in {doubt.name for doubt in examine(model, same, LABELS[:1].expand(8), threat)}
    always = lambda x: torch.eye(5)[torch.zeros(len(x), dtype=torch.long)]  # noqa: E731
    assert "constant-answers" not in {doubt.name for doubt in examine(always, X, LABELS * 0, threat)}


def test_transfers_come_before_questions_and_keep_their_slopes():
    suite = settle(st.scores_only(MODEL), X, LABELS, st.Linf(EPS), level="quick", surrogates={"twin": MODEL}).suite
    assert [part.access for part in suite] == ["transfer", "scores", "scores", "gradients"]
    assert isinstance(suite[0].attack, Via)
    assert suite[0].attack.attack.gradient == Autograd()
    assert isinstance(suite[-1].attack.gradient, Estimated)


def test_the_walk_for_labels_is_that_of_the_norm():
    def parts(threat):
        setting = settle(st.labels_only(MODEL), X, LABELS, threat, level="quick")
        return [type(part.attack) for part in setting.suite][:2], type(setting.ladder)

    assert parts(st.L2(0.3)) == ([st.HopSkipJump, st.HopSkipJump], st.HopSkipJump)
    assert parts(st.L1(3.0)) == ([st.Square, st.Square], st.FMN)


def test_questions_that_come_first_beat_no_slope():
    access = {"transfer": "transfer", "square": "scores", "slopes": "gradients", "last": "labels"}
    wins = {"square": 50, "last": 50}
    assert list(from_wins(wins, access, 100)) == []
    late = {"slopes": "gradients", "square": "scores", "last": "labels"}
    assert [doubt.name for doubt in from_wins(wins, late, 100)] == ["queries-win"]
