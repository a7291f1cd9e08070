"""What is made for other models is tried on the audited one: what it wins, what it costs, what it does not know."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import struthio as st
from struthio.audit.batch import examine_batch
from struthio.audit.setting import settle
from struthio.audit.surrogates import check, transfer_parts
from struthio.detectors import Guarded
from struthio.testing import linear_model, small_inputs
from tests.audit.test_abstaining import Height, Sides

X = small_inputs(20)
EXACT = linear_model(192, classes=5)
LABELS = EXACT(X).argmax(1)
EPS = 0.05


class Behind(nn.Module):
    """A linear model behind what hides its slope: steps up that slope down."""

    def __init__(self, net=EXACT):
        super().__init__()
        self.net = net

    def forward(self, x):
        level = ((x * 255).round() / 255).detach()
        return self.net(level - 4 * (x - level))


class Gentler(nn.Module):
    """The same answers as probabilities, and with a part of its own that raises on one row."""

    def __init__(self, softmax=True, mine=None):
        super().__init__()
        self.softmax, self.mine = softmax, mine

    def forward(self, x):
        if self.mine is not None and bool((x - self.mine).flatten(1).abs().amax(1).lt(2 * EPS).any()):
            raise RuntimeError("not this one")
        return (40 * EXACT(x)).softmax(1) if self.softmax else EXACT(x)


def audited(model=None, **given):
    options = {"level": "quick", "batch_size": 10, "certify": "none", "repair": False, **given}
    return st.audit(model or Behind().eval(), (X, LABELS), f"linf:{EPS}", **options)


def test_a_win_that_slopes_did_not_get_is_a_win_and_a_doubt():
    alone, found = audited(), audited(surrogates={"twin": EXACT})
    wins = found.verdict.wins["transfer from twin"]
    assert wins > 2
    assert found.at_most.count < alone.at_most.count
    (doubt,) = (doubt for doubt in found.doubts if doubt.name == "transfer-wins")
    assert doubt.evidence.startswith(f"{wins} of 20 rows fell to transfer from twin")
    assert "transfer-wins" not in {doubt.name for doubt in alone.doubts}


def test_transfers_come_after_slopes_and_before_queries():
    setting = settle(EXACT, X, LABELS, st.Linf(EPS), certify="none", surrogates={"a": EXACT, "b": Gentler()})
    assert setting.names[-6:-1] == (
        "last rows", "transfer from a", "transfer from b", "transfer from all together", "square",
    )  # fmt: skip


@pytest.mark.parametrize("threat", [st.Linf(EPS), st.L2(0.6), st.L1(9.0), st.L0(60)])
def test_a_part_costs_one_question_a_row_and_equals_the_attack_on_the_twin(threat):
    (part,) = transfer_parts({"twin": EXACT}, X, threat, "quick")
    found = part.attack(Behind(), X, st.Untargeted(LABELS), threat)
    own = part.attack.attack(EXACT, X, st.Untargeted(LABELS), threat)
    assert found.forwards.tolist() == [1] * 20
    assert found.backwards.tolist() == [0] * 20
    assert found.x_adv.equal(own.x_adv)
    assert own.success.any()
    assert part.access == "transfer"


def test_a_sure_softmax_is_undone_and_several_are_averaged_in_logits():
    sure, plain = Gentler(), Gentler(softmax=False)
    *_, both = transfer_parts({"sure": sure, "plain": plain}, X, st.Linf(EPS), "standard")
    logits = both.attack.source(X)
    assert torch.allclose(logits, 20.5 * EXACT(X))


def test_a_surrogate_knows_of_no_detector():
    generator = torch.Generator().manual_seed(3)
    x = 0.2 + 0.6 * torch.rand(8, 12, generator=generator, dtype=torch.float64)
    labels = Sides()(x).argmax(1)
    guarded = Guarded(Sides(), Height())
    goal, threat = st.Evade(st.Untargeted(labels)), st.Linf(0.1)
    for source in (Sides(), guarded):  # of one that may abstain the classes alone are seen
        (part,) = transfer_parts({"twin": source}, x, threat, "quick")
        found = part.attack(guarded, x, goal, threat)
        assert found.x_adv.equal(part.attack.attack(Sides(), x, st.Untargeted(labels), threat).x_adv)
        assert found.success.equal(goal.success(guarded(found.x_adv)))
    check({"twin": Sides(), "guarded": guarded}, x, 4)


def test_a_random_model_is_judged_by_most_draws():
    class Trembling(nn.Module):
        random = True

        def forward(self, x):
            return EXACT(x) + 1e-3 * torch.randn(len(x), 5, dtype=x.dtype)

    model = Trembling().eval()
    setting = settle(model, X, LABELS, st.Linf(EPS), level="quick", certify="none", surrogates={"twin": EXACT})
    (part,) = (part for part in setting.suite if part.access == "transfer")
    assert setting.draws > 1
    assert part.attack.attack == st.MIFGSM()  # what the model needs is not done to the surrogate
    found = examine_batch(replace(setting, suite=(part,), ladder=None), torch.arange(20), X, LABELS).findings
    assert (found.forwards == 2 * setting.draws + 1).all()
    assert found.fell.any()


def test_other_surrogates_are_another_job(tmp_path):
    found = audited(surrogates={"twin": EXACT}, folder=tmp_path)
    assert set(found.job["surrogates"]) == {"twin"}
    for other in ({}, {"twin": Gentler()}, {"other": EXACT}):
        with pytest.raises(st.UserError, match="surrogates"):
            audited(surrogates=other, folder=tmp_path)
    assert audited(surrogates={"twin": EXACT}, folder=tmp_path).figures() == found.figures()


@pytest.mark.parametrize(
    ("surrogate", "word"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(192, 3).double()), "knows 3 classes and the model 5"),
        (st.scores_only(EXACT), "no gradient"),
        (nn.Sequential(nn.Flatten(), nn.Dropout(), EXACT), "training mode"),
        (nn.Linear(7, 5).double(), "surrogate odd failed"),
    ],
)
def test_what_cannot_serve_is_refused_before_anything_is_done(surrogate, word):
    with pytest.raises(st.UserError, match=word):
        audited(surrogates={"odd": surrogate})


def test_a_surrogate_that_fails_later_on_is_named_and_brings_no_row_down():
    brittle = {"brittle": Gentler(mine=X[15])}
    setting = settle(EXACT, X[:10], LABELS[:10], st.Linf(EPS), level="quick", certify="none", surrogates=brittle)
    alone = replace(setting, suite=tuple(part for part in setting.suite if part.access == "transfer"), ladder=None)
    assert examine_batch(alone, torch.arange(10), X[:10], LABELS[:10]).findings.fell.any()
    with pytest.raises(st.UserError, match="surrogate brittle failed .*not this one"):
        examine_batch(alone, torch.arange(20), X, LABELS)
