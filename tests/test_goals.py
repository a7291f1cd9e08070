"""What counts as success, which way a loss points, and what cannot be meant."""

import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.losses import CrossEntropy, Divergence, Margin

OUTPUTS = torch.tensor([[3.0, 1.0, 0.0], [0.0, 2.0, 1.0], [1.0, 0.0, 4.0]])
LABELS = torch.tensor([0, 0, 2])
X = torch.zeros(3, 5)


def test_untargeted():
    goal = st.Untargeted(LABELS)
    assert goal.success(OUTPUTS).tolist() == [False, True, False]
    assert goal.score(Margin(), OUTPUTS).tolist() == [-2, 2, -3]


def test_any_wrong_class_is_a_success_where_one_leads():
    goal = st.Untargeted(LABELS, toward=torch.tensor([2, 2, 1]))
    assert goal.success(OUTPUTS).tolist() == [False, True, False]
    assert goal.score(Margin(), OUTPUTS).tolist() == [-3, -1, -4]


def test_targeted():
    goal = st.Targeted(torch.tensor([1, 1, 0]), LABELS)
    assert goal.success(OUTPUTS).tolist() == [False, True, False]
    assert goal.score(Margin(), OUTPUTS).tolist() == [-2, 1, -3]


def test_drift():
    goal = st.Drift(OUTPUTS.flip(0))
    assert goal.success(OUTPUTS).tolist() == [True, False, True]
    assert goal.score(Margin(), OUTPUTS).tolist() == [3, -1, 3]
    assert goal.score(Divergence(), OUTPUTS)[1] == 0
    assert (goal.score(Divergence(), OUTPUTS)[[0, 2]] > 0).all()


def test_both():
    goal = st.Both(st.Untargeted(LABELS), st.Targeted(torch.tensor([1, 2, 0])))
    assert goal.success(OUTPUTS).tolist() == [False, False, False]
    assert goal.score(Margin(), OUTPUTS).tolist() == [-2, -1, -3]
    goal = st.Both(st.Untargeted(LABELS), st.Targeted(torch.tensor([1, 1, 0])))
    assert goal.success(OUTPUTS).tolist() == [False, True, False]


@pytest.mark.parametrize(
    "goal",
    [
        st.Untargeted(LABELS),
        st.Untargeted(LABELS, toward=torch.tensor([2, 2, 1])),
        st.Targeted(torch.tensor([1, 1, 0]), LABELS),
        st.Targeted(torch.tensor([1, 1, 0])),
        st.Drift(OUTPUTS.flip(0)),
        st.Both(st.Untargeted(LABELS), st.Drift(OUTPUTS.flip(0))),
    ],
)
def test_rows_follow(goal):
    goal.check(X)
    goal.check_outputs(OUTPUTS)
    for rows in (torch.tensor([2, 0]), slice(1, 3), torch.tensor([False, True, False])):
        assert torch.equal(goal[rows].success(OUTPUTS[rows]), goal.success(OUTPUTS)[rows])
        for loss in (CrossEntropy(), Margin()):
            assert torch.equal(goal[rows].score(loss, OUTPUTS[rows]), goal.score(loss, OUTPUTS)[rows])


def test_the_least_likely_class():
    goal = st.least_likely(lambda x: OUTPUTS, X)
    assert goal.targets.tolist() == [2, 0, 1]
    assert goal.labels.tolist() == [0, 1, 2]


def test_a_model_that_breaks_down_is_not_won_over():
    broken = OUTPUTS * torch.tensor([torch.nan, 1, 1])
    for goal in (st.Untargeted(LABELS + 1), st.Targeted(torch.tensor([0, 0, 0])), st.Drift(OUTPUTS.flip(0))):
        assert not goal.success(broken).any()


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (st.Untargeted(LABELS[:2]), "labels have shape"),
        (st.Untargeted(LABELS[:, None]), "one class number a row"),
        (st.Untargeted(LABELS.float()), "whole class numbers"),
        (st.Untargeted(LABELS > 0), "whole class numbers"),
        (st.Untargeted(LABELS, toward=LABELS[:1]), "leading targets have shape"),
        (st.Targeted(LABELS[:2]), "targets have shape"),
        (st.Targeted(torch.tensor([1, 0, 1]), LABELS), r"true class in 1 of 3 rows \(first: row 1, class 0\)"),
        (st.Targeted(LABELS, LABELS[:1]), "labels have shape"),
        (st.Drift(OUTPUTS[:2]), "for 3 rows"),
        (st.Both(st.Untargeted(LABELS), st.Drift(OUTPUTS[:2])), "for 3 rows"),
    ],
)
def test_goals_that_do_not_fit_the_rows(goal, words):
    with pytest.raises(UserError, match=words):
        goal.check(X)


@pytest.mark.parametrize(
    ("goal", "words"),
    [
        (st.Untargeted(LABELS + 1), "knows classes 0 to 2"),
        (st.Untargeted(LABELS - 1), "run from -1"),
        (st.Untargeted(LABELS, toward=LABELS + 1), "knows classes 0 to 2"),
        (st.Targeted(LABELS + 1), "targets run from 1 to 3"),
        (st.Targeted(torch.tensor([1, 1, 0]), LABELS + 1), "knows classes 0 to 2"),
        (st.Drift(OUTPUTS[:, :2]), "2 classes, the model 3"),
        (st.Both(st.Untargeted(LABELS), st.Targeted(LABELS + 1)), "targets run"),
    ],
)
def test_classes_that_the_model_does_not_have(goal, words):
    with pytest.raises(UserError, match=words):
        goal.check_outputs(OUTPUTS)
