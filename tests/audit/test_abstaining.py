"""The audit of a model that may abstain: by itself it attacks model and detector jointly, and says so."""

from dataclasses import replace

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.stream import aim, stream
from struthio.audit.batch import examine_batch
from struthio.audit.doubts.probe import probe
from struthio.audit.findings import CLEAN
from struthio.audit.setting import UNNOTICED, settle
from struthio.cli.batch import _labels
from struthio.detectors import Detector, Guarded
from struthio.detectors.squeezing import SqueezingGap
from struthio.goals import against
from struthio.rows import RowGenerator

EPS = 0.05
N = 24


class Height(Detector):
    """The mean of a row's second half."""

    paper = "nobody"

    def __init__(self, threshold=0.7):
        super().__init__()
        self.shape = (12,)
        self.threshold.fill_(threshold)
        self.spread.fill_(0.1)

    def score(self, x):
        return x[:, 6:].mean(1)


class Trembling(Height):
    """The same, at random."""

    random = True

    def score(self, x):
        return super().score(x) + 0.01 * torch.randn(len(x), dtype=x.dtype)


class Sides(nn.Module):
    """Class 1 where the first half is bright and class 0 where it is dark, two more nowhere; height helps to cross."""

    def forward(self, x):
        side = x[:, :6].mean(1) - 0.5 + 0.5 * (x[:, 6:].mean(1) - 0.5)
        return 10 * torch.stack([-side, side, -1 + 0 * side, -1 + 0 * side], 1)


@pytest.fixture
def rows():
    generator = torch.Generator().manual_seed(3)
    x = 0.2 + 0.6 * torch.rand(N, 12, generator=generator, dtype=torch.float64)
    x[:4, 6:] = 0.8  # flagged
    return x, Sides()(x).argmax(1)


def audited(model, x, labels, parts=2):
    setting = settle(model, x[4:], labels[4:], st.Linf(EPS), level="quick", certify="none")
    few = replace(setting, ladder=None, suite=setting.suite[:parts])
    return setting, examine_batch(few, torch.arange(N), x, labels).findings


def shortened(attack):
    """With few queries and steps, and without restarts."""
    few = {"queries": 30, "restarts": 1, "steps": 15}
    inner = {"attack": shortened(attack.attack)} if hasattr(attack, "attack") else {}
    return replace(attack, **inner, **{name: value for name, value in few.items() if hasattr(attack, name)})


def reachable(x, labels):
    """Whether a wrong class can be reached without being flagged: the corner furthest that way, below the line."""
    up = torch.where(labels == 0, EPS, -EPS)
    height = (x[:, 6:].mean(1) + up).clamp(max=0.7)
    side = x[:, :6].mean(1) + up - 0.5 + 0.5 * (height - 0.5)
    return (side > 0) != (labels == 1)


def test_a_detector_without_a_threshold_is_refused(rows):
    with pytest.raises(st.UserError, match=r"Height has no threshold.*calibrate\(x, fpr=0\.05\)"):
        st.audit(Guarded(Sides(), Height(torch.inf)), rows, "linf:0.05", level="quick")


def test_rows_fall_where_wrong_and_unnoticed_alone(rows):
    x, labels = rows
    setting, found = audited(Guarded(Sides(), Height()), x, labels)
    assert setting.abstains
    assert UNNOTICED in setting.log
    assert found.by[:4].tolist() == [CLEAN] * 4
    assert not found.correct[:4].any()
    assert (found.fell[4:] == reachable(x, labels)[4:]).all()
    assert 2 < int(found.fell[4:].sum()) < 18
    assert (found.predicted_adv[4:][found.fell[4:]] < 2).all()


def test_what_the_detector_made_of_clean_rows_and_of_inputs_found_is_kept(rows):
    x, labels = rows
    model = Guarded(Sides(), Height())
    setting = settle(model, x[4:], labels[4:], st.Linf(EPS), level="quick", certify="none")
    done = examine_batch(replace(setting, ladder=None, suite=setting.suite[:2]), torch.arange(N), x, labels)
    found = done.findings
    assert torch.allclose(found.suspicion, model.detector.excess(x))
    wrong = Sides()(done.x_adv).argmax(1) != labels
    wrong[:4] = False  # flagged as they are, and not attacked
    assert found.suspicion_adv.isnan().equal(~wrong)
    assert torch.allclose(found.suspicion_adv[wrong], model.detector.excess(done.x_adv)[wrong])
    assert wrong.equal(found.fell & (found.by != CLEAN) | (found.suspicion_adv > 0))
    assert examine_batch(replace(setting, ladder=None, suite=()), torch.arange(N), x, labels).findings.forwards[9] == 3


def test_a_stream_without_labels_takes_the_class_behind_the_detector(rows):
    x, labels = rows
    model = Guarded(Sides(), Height())
    assert _labels(model, x, None).equal(labels)
    assert model(x).argmax(1)[:4].tolist() == [4] * 4
    batches = lambda size: [(torch.arange(N), x, labels)]  # noqa: E731
    (found,) = stream(st.FMN(steps=100), model, batches, aim("untargeted"), st.Linf(EPS))
    assert (found.result.success[4:] == reachable(x, labels)[4:]).all()
    assert not (found.result.success & found.abstained).any()


def test_without_the_detector_more_falls_and_nothing_is_said(rows):
    x, labels = rows
    setting, found = audited(Sides(), x, labels)
    assert not setting.abstains
    assert UNNOTICED not in setting.log
    assert found.suspicion.isnan().all()
    assert int(found.correct.sum()) == N


def test_a_random_detector_is_judged_by_most_draws(rows):
    x, labels = rows
    setting, found = audited(Guarded(Sides(), Trembling()), x, labels, parts=1)
    assert setting.draws > 1
    assert found.by[:4].tolist() == [CLEAN] * 4
    expected = reachable(x, labels) | (found.by == CLEAN)
    assert (found.fell == expected).double().mean() > 0.9  # the tremble is far smaller than the radius


@pytest.mark.parametrize("level", ["thorough", "standard-aa"])
def test_every_attack_of_every_level_can_go_unnoticed(rows, level):
    x, labels = (part[12:] for part in rows)
    setting = settle(Guarded(Sides(), Height()), x, labels, st.Linf(EPS), level=level, certify="none")
    assert "fab-t" not in setting.names
    for part in setting.suite:
        attack = shortened(part.attack)
        result = attack(setting.attacked, x, against(labels, True), st.Linf(EPS))
        assert not (result.success & ~reachable(x, labels)).any(), part.name
        assert result.success.any(), part.name


def test_the_probe_scores_what_the_attack_wants(rows):
    x, labels = rows
    model = Guarded(Sides(), Height())
    asked = probe(model, x, labels, st.Linf(EPS), RowGenerator.seeded(0, torch.arange(N)))
    score = asked.score(torch.zeros_like(x))
    assert asked.abstains
    assert bool((score[4:] < 0).all())  # right by its classes
    assert asked.few(3).abstains
    assert not probe(model.model, x, labels, st.Linf(EPS), RowGenerator.seeded(0, torch.arange(N))).abstains


def test_where_answers_are_compared_all_of_them_are_attacked_at_once():
    """A gap to rounding asks the network twice; a height asks it nothing."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4)).double().eval()
    x = torch.rand(8, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    gap = SqueezingGap([st.BitDepth(1)]).fit(net, x, net(x).argmax(1))
    gap.threshold.fill_(0.5)
    height = Height().double()
    for detector, expected in ((gap, True), (height, False)):
        guarded = Guarded(net, detector)
        y = net(x).argmax(1)
        parts = settle(guarded, x, y, st.Linf(EPS), level="quick", certify="none").suite
        names = [part.name for part in parts]
        assert ("every view" in names) == expected
        if expected:
            attack = parts[names.index("every view")].attack.attack
            assert attack.answers == 2
            assert isinstance(attack.held.detector.squeezers[0], st.BitDepth)  # whose slope is zero
            assert not isinstance(attack.source.detector.squeezers[0], st.BitDepth)
