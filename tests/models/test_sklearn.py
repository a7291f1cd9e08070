"""Fitted scikit-learn classifiers: what they predict is what counts, and no pickle is ever opened."""

import pickle
import textwrap

import numpy as np
import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.models import SklearnScores

pytest.importorskip("sklearn")
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression, Perceptron
from sklearn.naive_bayes import GaussianNB
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

NUMBERS = np.random.default_rng(0)
ROWS = NUMBERS.uniform(size=(200, 16)).astype(np.float32)
PLACES = (ROWS.reshape(200, 4, 4).mean(2)).argmax(1)  # which of four groups of values is largest
NAMES = np.array(["east", "north", "south", "west"])[PLACES]
X = torch.tensor(ROWS[:50]).reshape(50, 1, 4, 4)


class Plain:
    """Has only what every classifier has."""

    def fit(self, rows, names):
        self.classes_ = np.unique(names)
        return self

    def predict(self, rows):
        return self.classes_[rows.reshape(-1, 4, 4).mean(2).argmax(1)]


KINDS = [
    Plain(),
    LogisticRegression(),
    Perceptron(),
    GaussianNB(),
    RandomForestClassifier(5, random_state=0),
    NearestCentroid(),
    SVC(),
    SVC(decision_function_shape="ovo"),
    make_pipeline(StandardScaler(), SVC(C=0.01)),
]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind)[:40])
@pytest.mark.parametrize("outputs", ["scores", "labels"])
def test_the_strongest_class_is_the_one_predicted(kind, outputs):
    model = SklearnScores(kind.fit(ROWS, NAMES), outputs)
    out = model(X)
    assert out.shape == (50, 4)
    assert out.dtype == X.dtype
    assert torch.isfinite(out).all()
    assert model.class_names == ("east", "north", "south", "west")
    assert np.array_equal(np.array(model.class_names)[out.argmax(1)], kind.predict(ROWS[:50]))


def test_two_classes_have_two_scores():
    fitted = LogisticRegression().fit(ROWS, PLACES > 1)
    scores = SklearnScores(fitted)(X)
    assert torch.equal(scores[:, 0], -scores[:, 1])
    assert np.array_equal(scores.argmax(1).numpy() == 1, fitted.predict(ROWS[:50]))


def test_a_linear_one_is_attacked_to_its_exact_distance():
    fitted = LogisticRegression(C=10.0).fit(ROWS, PLACES > 1)
    slope = fitted.coef_[0]
    x = X[:10].double()
    need = np.abs(fitted.decision_function(x.flatten(1).numpy()))
    exact = torch.tensor(need / np.abs(slope).sum())  # in Linf, no limit is near
    goal = st.Untargeted(SklearnScores(fitted)(x).argmax(1))
    box = st.Box(-10.0, 10.0)
    lost = st.Square(queries=300)(SklearnScores(fitted), x, goal, st.Linf(exact * 0.98, box))
    won = st.Square(queries=3000)(SklearnScores(fitted), x, goal, st.Linf(exact * 1.1, box))
    assert not lost.success.any()
    assert won.success.all()


def test_a_forest_is_attacked_by_labels():
    model = SklearnScores(RandomForestClassifier(5, random_state=0).fit(ROWS, PLACES), "labels")
    goal = st.Untargeted(model(X[:5]).argmax(1))
    result = st.HopSkipJump(queries=200)(model, X[:5], goal, st.L2())
    assert result.success.all()
    assert result.size.max() < 2


def test_one_that_takes_other_inputs_says_so():
    with pytest.raises(UserError, match="features"):
        SklearnScores(LogisticRegression().fit(ROWS, PLACES))(X[:, :, :2])


@pytest.mark.parametrize(
    ("thing", "words"),
    [(LogisticRegression(), "not fitted"), (StandardScaler(), "no predict"), (object(), "no predict")],
)
def test_mistakes(thing, words):
    with pytest.raises(UserError, match=words):
        SklearnScores(thing)


def test_from_the_users_code(tmp_path):
    code = """
        import numpy as np
        from sklearn.linear_model import LogisticRegression

        fitted = LogisticRegression().fit(np.eye(3).repeat(4, 0), np.arange(3).repeat(4))

        def made():
            return fitted
    """
    (tmp_path / "mine.py").write_text(textwrap.dedent(code))
    for name in ("fitted", "made"):
        assert st.load(f"{tmp_path}/mine.py:{name}")(torch.eye(3)).argmax(1).tolist() == [0, 1, 2]


def test_no_pickle_is_opened(tmp_path):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    for name in ("model.pkl", "model.joblib", "model.pickle"):
        (tmp_path / name).write_bytes(pickle.dumps(Evil()))
        with pytest.raises(UserError):
            st.load(str(tmp_path / name))
    assert not (tmp_path / "ran").exists()
