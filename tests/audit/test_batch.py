"""One batch: who fell to what, which rows a part gets, what is learnt, and rows on which the model breaks down."""

import math
from dataclasses import replace

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.suites import Part
from struthio.audit import proof
from struthio.audit.batch import examine_batch
from struthio.audit.findings import CLEAN, FAILED
from struthio.audit.heard import answers
from struthio.audit.setting import Setting
from struthio.testing import exact_distance, linear_model, small_inputs

EPS = 0.03
MODEL = linear_model(192, classes=5)
X = small_inputs(24)
LABELS = MODEL(X).argmax(1)
IDS = torch.arange(24)
PGD = st.PGD(steps=20, loss=st.Margin())


def setting(*parts, model=MODEL, eps=EPS, ladder=None, certify="none"):
    return Setting(model, model, True, st.Linf(eps), parts, ladder, 24, 1, certify, 0, (), ())


def exact(rows=slice(None)):
    return torch.as_tensor(exact_distance(MODEL, X[rows], LABELS[rows], math.inf))


def test_exactly_the_rows_within_reach_fall():
    done = examine_batch(setting(Part("pgd", PGD)), IDS, X, LABELS)
    reach = exact()
    clear = (reach < 0.98 * EPS) | (reach > 1.02 * EPS)
    assert (done.findings.fell == (reach < EPS))[clear].all()
    assert 3 < int(done.findings.fell.sum()) < 21
    assert (done.findings.size[done.findings.fell] <= EPS * 1.001).all()
    assert done.findings.size[done.findings.held].isinf().all()
    assert (MODEL(done.x_adv).argmax(1) == done.findings.predicted_adv).all()
    assert (done.findings.predicted == LABELS).all()


def test_a_clean_mistake_has_fallen_at_size_0_and_costs_one_question():
    labels = LABELS.clone()
    labels[2] = (labels[2] + 1) % 5
    found = examine_batch(setting(Part("pgd", PGD)), IDS, X, labels).findings
    assert (found.fell[2], found.by[2], found.size[2], found.forwards[2]) == (True, CLEAN, 0.0, 1)
    assert not found.correct[2]
    assert found.correct.sum() == 23


def test_parts_see_the_survivors_alone_and_are_named_by_number():
    weak, strong = Part("weak", st.PGD(steps=1, step=0.5, random_start=False)), Part("strong", PGD)
    found = examine_batch(setting(weak, strong), IDS, X, LABELS).findings
    alone = examine_batch(setting(weak), IDS, X, LABELS).findings
    assert ((found.by == 0) == alone.fell).all()
    assert (found.by == 1).any()
    assert (found.forwards[found.by == 0] < found.forwards[found.by == 1].min()).all()


@pytest.mark.parametrize(("eps", "tried"), [(1e-4, 6), (0.5, 24)])
def test_a_share_goes_to_the_rows_nearest_to_the_border_and_on_while_rows_fall_out_there(eps, tried):
    weakest = Part("first", st.PGD(steps=1, step=1e-6, random_start=False))
    parts = weakest, Part("near", PGD, share=0.25)
    done = examine_batch(setting(*parts, eps=eps), IDS, X, LABELS)
    gaps = MODEL(X).topk(2, dim=1).values
    nearest = (gaps[:, 0] - gaps[:, 1]).argsort()[:tried]
    got = (done.findings.backwards > 1).nonzero().flatten()
    assert set(got.tolist()) == set(nearest.tolist())
    again = examine_batch(setting(*parts, eps=eps), IDS, X, LABELS, done.bars)
    assert again.findings.backwards.equal(done.findings.backwards)


@pytest.mark.parametrize(("eps", "stand", "tried"), [(0.5, 4, 24), (1e-6, 4, 3), (0.5, 5, 0)])
def test_the_last_rows_get_more_and_those_of_other_batches_if_it_helps_or_they_are_nearer(eps, stand, tried):
    first, last = Part("first", st.PGD(steps=1, step=1e-6, random_start=False)), Part("last", PGD, share=0)
    labels = LABELS.clone()
    labels[stand:] = (labels[stand:] + 1) % 5  # mistaken before
    done = examine_batch(setting(first, last, eps=eps), IDS, X, labels)
    few = stand == 4
    assert (done.findings.backwards > 1).tolist() == [few and row < 4 for row in range(24)]
    came = done.findings.margin[:4].max()
    bar = math.inf if not few else -math.inf if eps == 0.5 else came
    assert done.bars == (-math.inf, bar)
    before = examine_batch(setting(first, eps=eps), IDS, X, LABELS).findings.margin
    other = examine_batch(setting(first, last, eps=eps), IDS, X, LABELS, done.bars).findings
    assert (other.backwards > 1).equal(before >= bar)
    assert int((before >= bar).sum()) == tried


def test_a_batch_given_its_bars_equals_batches_of_one():
    parts = Part("first", st.PGD(steps=2, loss=st.Margin())), Part("near", PGD, share=0.5)
    bars = examine_batch(setting(*parts), IDS, X, LABELS).bars
    whole = examine_batch(setting(*parts), IDS, X, LABELS, bars)
    for row in range(0, 24, 5):
        one = examine_batch(setting(*parts), IDS[row : row + 1], X[row : row + 1], LABELS[row : row + 1], bars)
        assert one.x_adv.equal(whole.x_adv[row : row + 1])
        assert one.findings.by[0] == whole.findings.by[row]


def test_the_smallest_change_is_that_of_the_closed_form():
    done = examine_batch(setting(ladder=st.FMN(steps=200)), IDS, X, LABELS)
    assert (done.findings.smallest >= exact() * 0.999).all()
    assert (done.findings.smallest <= exact() * 1.1).all()
    within = done.findings.smallest <= EPS
    assert (done.findings.fell == within).all()
    assert (done.findings.by[within] == 0).all()


def test_proved_rows_hold_and_a_contradiction_stops():
    weight = MODEL.weight.float()
    net = nn.Sequential(nn.Flatten(), nn.Linear(192, 5)).eval()
    net[1].weight.data, net[1].bias.data = weight, MODEL.bias.float()
    x = X.float()
    done = examine_batch(setting(Part("pgd", PGD), model=net, certify="auto"), IDS, x, LABELS)
    found = done.findings
    assert found.certified.any()
    assert not (found.certified & found.fell).any()
    assert (found.certified == found.held).sum() >= 22  # bounds are exact on a linear model


def test_a_false_proof_is_a_bug(monkeypatch):
    def everything(model, x, labels, threat, method):
        return st.Certificate(torch.ones(len(x), dtype=torch.bool), torch.ones(len(x)), method, 0.0)

    monkeypatch.setattr(proof, "certify", everything)
    with pytest.raises(proof.Contradiction, match="proved to hold"):
        examine_batch(setting(Part("pgd", PGD), certify="auto"), IDS, X, LABELS)


def test_a_clean_row_of_which_the_model_says_nan_is_set_apart():
    def silent(x):
        return MODEL(x).masked_fill((x == X[1]).flatten(1).all(1, keepdim=True), math.nan)

    done = examine_batch(setting(model=silent), IDS[:3], X[:3], LABELS[:3])
    assert (done.errors, done.findings.fell.tolist()) == ({1: "the scores hold NaN"}, [False, True, False])
    assert answers(silent, X[:3]).tolist() == [LABELS[0], -1, LABELS[2]]


class Fragile(nn.Module):
    """Raises where the first value of any row is above 0.99."""

    def forward(self, x):
        if bool((x[:, 0, 0, 0] == X[5, 0, 0, 0]).any()):
            raise ValueError("cannot read <this> row")
        return MODEL(x)


def test_a_row_on_which_the_model_breaks_down_is_set_apart():
    x = X.clone()
    x[:, 0, 0, 0] = torch.linspace(0.2, 0.8, 24).double()
    x[5] = X[5]
    parts = Part("pgd", PGD), Part("last", PGD, share=0)
    masked = replace(setting(*parts, model=Fragile().eval()), threat=st.Linf(1e-6))
    done = examine_batch(masked, IDS, x, MODEL(x).argmax(1))
    assert done.bars == (-math.inf, math.inf)  # twenty-three stand, though hardly any in the smallest half
    assert done.errors == {5: "ValueError: cannot read <this> row"}
    assert done.findings.by.tolist() == [FAILED if row == 5 else -1 for row in range(24)]
    assert done.findings.ids.tolist() == list(range(24))
    assert done.findings.fell[5]


def test_a_batch_that_does_not_fit_is_halved():
    sizes = []

    class Small(nn.Module):
        def forward(self, x):
            sizes.append(len(x))
            if len(x) > 6:
                raise MemoryError("out of memory")
            return MODEL(x)

    done = examine_batch(setting(Part("pgd", PGD), model=Small().eval()), IDS, X, LABELS)
    whole = examine_batch(setting(Part("pgd", PGD)), IDS, X, LABELS)
    assert done.findings.by.equal(whole.findings.by)
    assert max(sizes) == 24


def test_a_mistake_of_ours_is_not_taken_for_the_model_s():
    class Broken(st.FGSM):
        def search(self, model, x, goal, threat, generator):
            raise TypeError("ours")

    with pytest.raises(TypeError, match="ours"):
        examine_batch(setting(Part("broken", Broken())), IDS, X, LABELS)
