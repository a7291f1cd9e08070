"""The audit as a whole: its figures, going on after a kill, several threats, workers, and what it refuses."""

import itertools
import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

import struthio as st
from struthio.audit import Store, last_look, summarise
from struthio.audit.job import Job, agreed
from struthio.audit.run import Progress
from struthio.audit.setting import settle
from struthio.audit.work import Hand, _sendable
from struthio.models.single import AskedInSingle
from struthio.testing import linear_model, small_inputs


class Linear(nn.Module):
    """A linear model in single precision, which bounds can read."""

    def __init__(self):
        super().__init__()
        exact = linear_model(192, classes=5)
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, 5))
        self.layers[1].weight.data, self.layers[1].bias.data = exact.weight.float(), exact.bias.float()

    def forward(self, x):
        return self.layers(x)


MODEL = Linear().eval()
X = small_inputs(40).float()
LABELS = MODEL(X).argmax(1).detach()
LABELS[3] = (LABELS[3] + 1) % 5
OTHER = Linear().eval()  # a surrogate: the same model, turned a little
OTHER.layers[1].weight.data += 0.3 * torch.randn(5, 192, generator=torch.Generator().manual_seed(7))


def audited(**given):
    return st.audit(MODEL, (X, LABELS), given.pop("threats", "linf:0.03"), level="quick", batch_size=16, **given)


def plain(found):
    figures = found.figures()
    for verdict in figures["threats"].values():
        verdict.pop("seconds")
    return figures


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """An audit that nobody stopped: its folder, what it found, and what it told."""
    folder, told = tmp_path_factory.mktemp("whole"), []
    return folder, audited(folder=folder, tell=told.append), told


@pytest.fixture(scope="module")
def helped(tmp_path_factory):
    """The same through a surrogate too: its folder and what it found."""
    folder = tmp_path_factory.mktemp("helped")
    return folder, audited(folder=folder, surrogates=[OTHER])


def test_the_figures_of_a_linear_model_are_exact(whole):
    _, found, told = whole
    verdict = found.verdict
    assert (verdict.count.rows, verdict.count.correct) == (40, 39)
    assert 0 <= verdict.count.held - verdict.count.certified <= 1  # both are exact here, but for rounding
    assert 5 < verdict.count.held < 35
    assert verdict.at_most.low < verdict.at_most.share < verdict.at_most.high
    assert sum(verdict.wins.values()) == 39 - verdict.count.held
    assert sum(count.rows for count in verdict.classes.values()) == 40
    curve = verdict.curve()
    assert curve[0] == (0.0, 39 / 40)
    assert curve[-1][1] == 0.0
    assert all(left[1] >= right[1] for left, right in itertools.pairwise(curve))
    at_eps = dict(curve)[0.03]
    assert abs(at_eps - verdict.count.held / 40) < 1e-9
    assert found.doubts == ()
    assert told[0] == Progress("linf:0.03", "examining the model", 0, 40, 0)
    assert told[-1].done == 40
    assert told[-1].held == verdict.count.held


def test_the_worst_of_two_threats_counts_rows_that_hold_under_both():
    found = audited(threats=["linf:0.02", "l2:0.3"], certify="none", rows=16)
    assert list(found.threats) == list(found.figures()["threats"]) == ["linf:0.02", "l2:0.3"]  # as they were given
    held = [verdict.count.held for verdict in found.threats.values()]
    assert found.worst.held <= min(held)
    assert found.at_most.count == found.worst.held


class Stopped(Exception):
    pass


def test_an_audit_that_was_stopped_goes_on_bit_for_bit(tmp_path, helped):
    def stop_after(rows):
        def tell(progress):
            if progress.done >= rows:
                raise Stopped

        return tell

    for rows in (16, 32):
        with pytest.raises(Stopped):
            audited(folder=tmp_path / "parts", surrogates=[OTHER], tell=stop_after(rows))
    assert plain(audited(folder=tmp_path / "parts", surrogates=[OTHER])) == plain(helped[1])
    assert_same_rows(helped[0], tmp_path / "parts")


def assert_same_rows(first, second):
    with Store.read(first) as a, Store.read(second) as b:
        for one, other in zip(a.findings("linf:0.03"), b.findings("linf:0.03"), strict=True):
            for name, value in vars(one).items():
                assert value.equal(getattr(other, name)) or value.isnan().any(), name
        for batch in a.done("linf:0.03"):
            left, right = a.pictures("linf:0.03", batch), b.pictures("linf:0.03", batch)
            assert all(left[name].equal(right[name]) for name in left)


SCRIPT = """
    import sys
    sys.path.insert(0, {tests!r})
    from test_run import audited
    audited(folder={folder!r})
"""


def test_an_audit_that_was_killed_goes_on_bit_for_bit(tmp_path, whole):
    folder = tmp_path / "killed"
    script = textwrap.dedent(SCRIPT.format(tests=os.path.dirname(__file__), folder=str(folder)))
    process = subprocess.Popen([sys.executable, "-c", script])
    while process.poll() is None and not (folder / "pictures").exists():
        time.sleep(0.01)
    time.sleep(0.3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert plain(audited(folder=folder)) == plain(whole[1])
    assert_same_rows(folder, whole[0])


def test_a_finished_audit_is_read_and_not_run_again(whole):
    (folder, first, _), told = whole, []
    assert plain(audited(folder=folder, tell=told.append)) == plain(first)
    assert not told
    with Store.read(folder) as store:
        assert plain(summarise(store)) == plain(first)


def test_another_function_is_told_apart_by_its_answers(tmp_path):
    """It has no weights of which a digest could be taken, and a module's code may change between two runs."""

    def begin(model, folder, **given):
        def stop(progress):
            raise Stopped

        st.audit(model, (X, LABELS), "linf:0.03", folder=tmp_path / folder, name="it", tell=stop, **given)

    calls = itertools.count()
    random = lambda x: MODEL(x) + torch.rand(len(x), 5)  # noqa: E731
    never_the_same = lambda x: MODEL(x) * (1 + next(calls) % 2)  # noqa: E731
    for folder, first, second in (
        ("one", lambda x: MODEL(x), lambda x: MODEL(x) + 1e-7),
        ("random", random, random),
        ("drifting", never_the_same, never_the_same),
    ):
        for model in (first, second):
            with pytest.raises(Stopped):
                begin(model, folder)
    with pytest.raises(st.UserError, match="another model: the first rows were answered otherwise"):
        begin(lambda x: 1.1 * MODEL(x), "one")
    with pytest.raises(Stopped):
        begin(MODEL, "surrogates", surrogates={"b": lambda x: MODEL(x)})
    with pytest.raises(st.UserError, match="another surrogate b"):
        begin(MODEL, "surrogates", surrogates={"b": lambda x: -MODEL(x)})


def test_workers_find_the_same(helped):
    found = audited(workers=2, surrogates=[OTHER])
    assert plain(found) == plain(helped[1])
    assert "transfer from Linear 1" in found.verdict.wins


def test_what_was_agreed_is_sent_to_workers(monkeypatch):
    """They examine the model themselves only where something in the setting stays behind."""
    given = job()
    setting = given.setting(given.threats["linf:0.03"])
    assert _sendable(setting) is setting
    assert _sendable(replace(setting, attacked=lambda x: x)) is None

    def examined(*_):
        raise Stopped

    monkeypatch.setattr(Job, "setting", examined)
    hand = Hand(given, "linf:0.03", (), setting, False)
    assert callable(pickle.loads(pickle.dumps(hand))())
    with pytest.raises(Stopped):
        replace(hand, setting=None)()


@pytest.mark.parametrize(
    ("change", "word"), [({"seed": 1}, "seed"), ({"rows": 30}, "rows"), ({"threats": "linf:0.02"}, "threats")]
)
def test_the_folder_of_another_job_is_refused(tmp_path, change, word):
    audited(folder=tmp_path, certify="none")
    with pytest.raises(st.UserError, match=word):
        audited(folder=tmp_path, certify="none", **change)


def test_another_model_is_another_job(tmp_path):
    audited(folder=tmp_path, certify="none")
    other = Linear().eval()
    other.layers[1].bias.data += 0.01
    with pytest.raises(st.UserError, match="weights"):
        st.audit(other, (X, LABELS), "linf:0.03", level="quick", batch_size=16, certify="none", folder=tmp_path)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (((X, LABELS + 3), "linf:0.03"), "labels up to"),
        (((X + 1, LABELS), "linf:0.03"), "spans"),
        (((X, LABELS), "linf:3"), "linf|Linf"),
        (((X, LABELS), []), "no threat"),
        (((X[:0], LABELS[:0]), "linf:0.03"), "nothing in it"),
        (((X, LABELS[:5]), "linf:0.03"), "one class number a row"),
        (((X, LABELS.double()), "linf:0.03"), "whole class numbers"),
        (((X.numpy(), LABELS.numpy()), "linf:0.03"), "tuple of ndarray, ndarray.*from_numpy"),
        ((X, "linf:0.03"), "a Tensor; tensors"),
        (((X, LABELS), {}), "no threat"),
        (((X, LABELS), 0.03), "0.03 is no threat"),
        (((X, LABELS), st.Linf), "is no threat"),
        (((X, LABELS), "linf"), "eps = inf"),
        (((X, LABELS), "l2:0"), "eps = 0"),
        (((X, LABELS), st.Linf(torch.full((len(X),), 0.1))), "one radius for all"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(arguments, word):
    with pytest.raises(st.UserError, match=word):
        st.audit(MODEL, *arguments, level="quick")


@pytest.mark.parametrize(
    ("option", "word"),
    [
        ({"level": "hard"}, "standard-aa"),
        ({"certify": "hard"}, "'none'.*'crown'"),
        ({"seed": None}, "whole number"),
        ({"workers": -1}, "workers is -1"),
    ],
)
def test_an_option_that_cannot_be_meant_is_refused_too(option, word):
    with pytest.raises(st.UserError, match=word):
        st.audit(MODEL, (X, LABELS), "linf:0.03", **option)


def test_a_threat_without_known_bounds_is_audited_without_proofs():
    assert settle(MODEL, X[:2], LABELS[:2], st.L0(2), level="quick").certify == "none"
    with pytest.raises(st.UserError, match="bounds are known for Linf, L2 and L1"):
        job("l0:2", certify="crown")


def job(threat="linf:0.03", x=X, labels=LABELS, model=MODEL, certify="none"):
    return agreed(model, (x, labels), threat, "quick", None, 16, 0, certify, True, {}, ())


def test_odd_rows():
    odd = job(x=torch.cat([X[:20], X[:1] + 3]), labels=LABELS[:21])
    with pytest.raises(st.UserError, match="row 20 of the data: x spans"):
        odd.batch(1)
    with pytest.raises(st.UserError, match="labels hold -9; class numbers start at 0"):
        job(labels=LABELS - 9)
    with pytest.raises(st.UserError, match=r"each of the first 16 rows: .*model\.float\(\)"):
        job(model=Linear().eval().double())
    with pytest.raises(st.UserError, match="each of the first 16 rows: .* the scores hold NaN"):
        job(model=lambda x: MODEL(x) * torch.nan)
    with pytest.raises(st.UserError, match=r"keeps its rows in single precision.*Give x\.float\(\)"):
        job(x=X.bfloat16(), model=Linear().eval().bfloat16())
    half = job(model=AskedInSingle(Linear().eval().bfloat16(), torch.bfloat16))
    assert half.description(None)["weights"] != job().description(None)["weights"]


def test_what_is_no_model_is_refused():
    with pytest.raises(st.UserError, match=r"struthio\.load"):
        st.audit("zoo:digits-cnn", (X, LABELS), "linf:0.03")


class Picky(Linear):
    """Raises an error on some rows."""

    def __init__(self, bad):
        super().__init__()
        self.bad = bad

    def forward(self, x):
        if (x[:, None] == self.bad).flatten(2).all(2).any():
            raise ZeroDivisionError("cannot digest this")
        return super().forward(x)


def test_rows_on_which_the_model_fails_are_told_and_the_others_go_on():
    found = st.audit(Picky(X[[0, 3]]).eval(), (X[:6], LABELS[:6]), "linf:0.03", level="quick", certify="none").verdict
    assert found.errors == {"0": "ZeroDivisionError: cannot digest this", "3": "ZeroDivisionError: cannot digest this"}
    assert (found.count.failed, found.count.rows) == (2, 6)
    with pytest.raises(st.UserError, match="each of the first .* cannot digest this"):
        st.audit(Picky(X).eval(), (X, LABELS), "linf:0.03")


def test_a_model_that_fails_on_noise_is_audited_to_the_end_and_doubted():
    class Known(Linear):
        def forward(self, x):
            if not (x[:, None] == X).flatten(2).all(2).any(1).all():
                raise ValueError("never seen")
            return super().forward(x)

    found = st.audit(Known().eval(), (X[4:8], LABELS[4:8]), "linf:0.03", level="quick", certify="none").verdict
    assert (found.count.rows, found.count.failed, found.at_most.count) == (4, 4, 0)
    assert set(found.errors.values()) == {"ValueError: never seen"}
    assert "fails-nearby" in [doubt.name for doubt in found.doubts]


def test_a_model_that_fails_in_the_last_look_is_audited_to_the_end(monkeypatch):
    def look(model, *_, **options):
        return model(X[9:10])

    monkeypatch.setattr(last_look, "reconsider", look)
    found = st.audit(Picky(X[9:10]).eval(), (X[:4], LABELS[:4]), "linf:0.005", level="quick", certify="none").verdict
    assert (found.count.rows, found.count.failed) == (4, 0)
    assert found.log[-1] == "Not all doubts could be looked for at the end: ZeroDivisionError: cannot digest this"


def test_without_labels_the_models_own_answers_are_said_to_stand_for_them():
    found = st.audit(MODEL, st.data.Samples(X[:6], None), "linf:0.03", level="quick", certify="none")
    assert found.verdict.clean.share == 1
    assert found.job["labels"] == "the model's own answers"


class Coarse(nn.Module):
    """Looks at two-bit pictures: no gradient passes the rounding."""

    def __init__(self):
        super().__init__()
        self.preprocess, self.net = Rounded(), Linear()

    def forward(self, x):
        return self.net(self.preprocess(x))


class Rounded(nn.Module):
    def forward(self, x):
        return (x * 15).round() / 15


def test_a_hidden_gradient_is_found_and_laid_open():
    labels = Coarse().eval()(X).argmax(1)
    naive = st.audit(Coarse().eval(), (X, labels), "linf:0.1", level="quick", certify="none", repair=False)
    found = st.audit(Coarse().eval(), (X, labels), "linf:0.1", level="quick", certify="none")
    assert found.at_most.count < naive.at_most.count
    assert {"zero-gradient", "gradient-free-part"} & {doubt.name for doubt in found.doubts}
    assert "preprocess" in " ".join(found.verdict.log)
    assert torch.tensor(found.verdict.sizes).max() <= 0.1001


def test_a_test_of_robustness_passes_and_fails():
    from struthio.testing import assert_robust

    options = {"level": "quick", "certify": "none"}
    assert assert_robust(MODEL, (X, LABELS), "linf:0.001", at_least=0.5, **options).at_most.share > 0.8
    with pytest.raises(AssertionError, match="may be as low as .* 95 % interval .* Doubts: none"):
        assert_robust(MODEL, (X, LABELS), "linf:0.2", at_least=0.5, **options)
    with pytest.raises(st.UserError, match="at_least is 40"):
        assert_robust(MODEL, (X, LABELS), "linf:0.2", at_least=40)
