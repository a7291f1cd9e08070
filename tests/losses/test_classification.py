"""Losses by hand: per row, higher suits the attacker, and what rescaling does to them."""

import math

import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.losses import DLR, CrossEntropy, Divergence, Logit, Margin

OUTPUTS = torch.tensor([[3.0, 1.0, 0.0, -2.0], [0.0, 2.0, 2.5, 1.0]], dtype=torch.float64)
LABELS = torch.tensor([0, 1])
TARGETS = torch.tensor([1, 3])


def log_sum(row):
    return math.log(sum(map(math.exp, row)))


FIRST, SECOND = log_sum([3, 1, 0, -2]), log_sum([0, 2, 2.5, 1])


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (CrossEntropy(), [FIRST - 3, SECOND - 2]),
        (Divergence(), [FIRST - 3, SECOND - 2]),
        (Margin(), [1 - 3, 2.5 - 2]),
        (Logit(), [-3, -2]),
        (DLR(), [(1 - 3) / (3 - 0), (2.5 - 2) / (2.5 - 1)]),
    ],
)
def test_away_from_the_labels(loss, expected):
    assert loss.away(OUTPUTS, LABELS).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        (CrossEntropy(), [1 - FIRST, 1 - SECOND]),
        (Divergence(), [1 - FIRST, 1 - SECOND]),
        (Margin(), [1 - 3, 1 - 2.5]),
        (Logit(), [1, 1]),
        (DLR(), [(1 - 3) / (3 - (0 - 2) / 2), (1 - 2) / (2.5 - (1 + 0) / 2)]),
    ],
)
def test_toward_the_targets(loss, expected):
    assert loss.toward(OUTPUTS, TARGETS, LABELS).tolist() == pytest.approx(expected)


def test_targeted_dlr_without_labels_compares_with_the_strongest_other():
    expected = [(1 - 3) / (3 + 1), (1 - 2.5) / (2.5 - 0.5)]
    assert DLR().toward(OUTPUTS, TARGETS).tolist() == pytest.approx(expected)


def test_dlr_is_blind_to_shift_and_scale():
    loss = DLR()
    moved = 7.0 * OUTPUTS - 40
    torch.testing.assert_close(loss.away(moved, LABELS), loss.away(OUTPUTS, LABELS))
    torch.testing.assert_close(loss.toward(moved, TARGETS, LABELS), loss.toward(OUTPUTS, TARGETS, LABELS))


@pytest.mark.parametrize("loss", [CrossEntropy(), Margin(), Divergence()])
def test_a_shift_of_all_logits_changes_nothing(loss):
    torch.testing.assert_close(loss.away(OUTPUTS + 40, LABELS), loss.away(OUTPUTS, LABELS))


@pytest.mark.parametrize("loss", [CrossEntropy(), Margin(), Logit(), DLR(), Divergence()])
def test_rows_do_not_meet(loss):
    """Each row's loss is its own, and so is its gradient."""
    for name, classes in (("away", LABELS), ("toward", TARGETS)):
        of = getattr(loss, name)
        both = of(OUTPUTS, classes)
        torch.testing.assert_close(torch.cat([of(OUTPUTS[:1], classes[:1]), of(OUTPUTS[1:], classes[1:])]), both)
        free = OUTPUTS.clone().requires_grad_()
        of(free, classes)[0].backward()
        assert free.grad[0].abs().max() > 0
        assert free.grad[1].abs().max() == 0


def test_margin_and_success_agree_in_sign():
    outputs = torch.randn(500, 4, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(500) % 4
    for goal in (st.Untargeted(labels), st.Targeted(labels), st.Drift(outputs.roll(1, 0))):
        assert torch.equal(goal.score(Margin(), outputs) > 0, goal.success(outputs))


def test_divergence_from_the_clean_answer_by_hand():
    reference = torch.tensor([[0.0, 0.0]], dtype=torch.float64)
    outputs = torch.tensor([[0.0, math.log(3)]], dtype=torch.float64)  # a half each, against a quarter and three
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert Divergence().drift(outputs, reference).tolist() == pytest.approx([expected])
    assert Divergence().drift(reference, reference).tolist() == pytest.approx([0])


def test_divergence_is_never_negative():
    outputs = torch.randn(2, 200, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (Divergence().drift(*outputs) > 0).all()


@pytest.mark.parametrize(
    ("score", "classes", "words"),
    [
        (lambda out, labels: DLR().away(out, labels), 2, r"compares 3 classes, but the model has 2\. Use Margin\(\)"),
        (lambda out, labels: DLR().toward(out, labels), 3, r"compares 4 classes, but the model has 3\. Use Margin\(\)"),
    ],
)
def test_dlr_names_what_to_use_with_few_classes(score, classes, words):
    with pytest.raises(UserError, match=words):
        score(torch.randn(2, classes), LABELS)


def test_dlr_of_equal_logits_is_zero_and_not_nan():
    assert DLR().away(torch.zeros(1, 4), LABELS[:1]).item() == 0
