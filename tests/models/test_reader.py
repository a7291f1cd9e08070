"""Answers as services give them, read without a service: every form is the same two rows of scores."""

import numpy as np
import pytest

from struthio import UserError
from struthio.models.answer import usual
from struthio.models.reader import Reader

NAMES = ("cat", "dog", "ostrich")
ROWS = np.array([[0.2, 0.1, 0.7], [0.5, 0.3, 0.2]])


def listed(row, names=NAMES, name="label", score="score"):
    """As classifiers of pictures often answer: the strongest class first."""
    return sorted(({name: n, score: s} for n, s in zip(names, row, strict=True)), key=lambda part: -part[score])


@pytest.mark.parametrize(
    "answer",
    [
        ROWS.tolist(),
        {"predictions": ROWS.tolist()},
        {"scores": [[str(score) for score in row] for row in ROWS]},
        {"results": [dict(zip(NAMES, row, strict=True)) for row in ROWS.tolist()]},
        [listed(row) for row in ROWS.tolist()],
        {"predictions": [listed(row, name="class", score="confidence") for row in ROWS.tolist()]},
    ],
)
def test_forms_of_scores(answer):
    np.testing.assert_array_equal(Reader("scores", NAMES, None).read(answer, 2), ROWS)


def test_a_single_input_may_stand_alone():
    reader = Reader("probabilities", NAMES, None)
    for answer in (ROWS[0].tolist(), listed(ROWS[0].tolist()), [listed(ROWS[0].tolist())]):
        np.testing.assert_array_equal(reader.read(answer, 1), ROWS[:1])


def test_percent_are_probabilities():
    np.testing.assert_allclose(Reader("probabilities", None, None).read((100 * ROWS).tolist(), 2), 100 * ROWS)
    with pytest.raises(UserError, match="sums to 50"):
        Reader("probabilities", None, None).read((50 * ROWS).tolist(), 2)


def test_names_that_are_numbers_tell_the_order():
    for names in (("0", "1", "2"), ("LABEL_0", "LABEL_1", "LABEL_2")):
        answer = [listed(row, names) for row in ROWS.tolist()]
        np.testing.assert_array_equal(Reader("scores", None, None).read(answer, 2), ROWS)


@pytest.mark.parametrize(
    ("answer", "classes", "words"),
    [
        ([listed(row) for row in ROWS.tolist()], None, "by name, such as .*--classes NAME,NAME"),
        ([listed(row)[:2] for row in ROWS.tolist()], NAMES, "2 classes by name, .* outputs='labels'"),
        ([[9 - i for i in range(10)]] * 2, None, "seem to be sorted"),
        (["cat", "dog"], None, "--outputs labels"),
        ({"labels": [1, 2]}, None, "answers with labels: outputs='labels'"),
        ({"probabilities": ROWS.tolist()}, None, "--outputs probabilities"),
        ({"meta": {"t": 1}, "data": {"of": ROWS.tolist()}}, None, "parse='data.of' or parse='meta.t'"),
        (
            {"predictions": [{"label": "cat", "confidence": 0.9}] * 2},
            None,
            r"parse='predictions.\*.confidence' .*For the names alone: outputs='labels', parse='predictions.\*.label'",
        ),
    ],
)
def test_what_is_no_row_of_scores_says_what_to_do(answer, classes, words):
    with pytest.raises(UserError, match=words):
        Reader("scores", classes, None).read(answer, 2)


def test_scores_that_fall_later_on_are_scores():
    reader, falling = Reader("scores", None, None), [[float(9 - i) for i in range(10)]]
    reader.read([[0.0, 1.0] * 5], 1)
    np.testing.assert_array_equal(reader.read(falling, 1), falling)


def test_places_of_labels_are_names_and_numbers():
    with pytest.raises(UserError, match=r"parse='answers.\*.top'"):
        usual({"answers": [{"top": "cat", "sure": 0.9}]}, "labels", 1)
