"""What a history gives away, on made-up ones."""

import pytest

from struthio.train.history import Epoch, best, doubts, since_best


def lines(*accuracies, judged=1000):
    """Epochs of (robust, one_step), the training loss falling."""
    return [
        Epoch(k + 1, 1 / (k + 1), 0.1, 1.0, judged, 0.5, 0.9, robust, one_step)
        for k, (robust, one_step) in enumerate(accuracies)
    ]


def test_catastrophic_overfitting():
    (said,) = doubts(lines((0.3, 0.4), (0.4, 0.45), (0.02, 0.8)))
    assert said.startswith("catastrophic overfitting: from epoch 2 to 3 robust accuracy fell from 40.0% to 2.0%")
    assert doubts(lines((0.3, 0.4), (0.4, 0.45), (0.02, 0.05))) != [said]  # both fall: the rate, not the one step
    assert doubts(lines((0.3, 0.4), (0.4, 0.45), (0.39, 0.5))) == []


def test_catastrophic_from_the_beginning():
    (said,) = doubts(lines((0.003, 0.21), (0.085, 0.865), (0.055, 0.972)))
    assert said.startswith("catastrophic overfitting: in the end accuracy is 97.2% under one step and 5.5% under")
    assert doubts(lines((0.2, 0.4), (0.3, 0.55))) == []


def test_robust_overfitting():
    (said,) = doubts(lines((0.3, 0.4), (0.5, 0.55), (0.44, 0.54)))
    assert said.startswith("robust overfitting: robust accuracy was best after epoch 2 (50.0%) and is 44.0%")
    assert doubts(lines((0.5, 0.55), (0.44, 0.5), judged=100)) == []  # within two standard errors
    assert doubts(lines((0.5, 0.55), (0.44, 0.5)), adversarial=False) == []


def test_the_best():
    history = lines((0.3, 0.4), (0.5, 0.55), (0.5, 0.5), (0.4, 0.5))
    assert best(history).epoch == 2
    assert since_best(history) == 2
    clean = [Epoch(1, 1.0, 0.1, 1.0), Epoch(2, 1.0, 0.1, 1.0, 10, 0.5, 0.9)]
    assert best(clean).epoch == 2
    assert best(clean[:1]) is None
    assert since_best([]) == 0
    assert best(clean).score == pytest.approx(0.9)
