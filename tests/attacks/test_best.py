"""The best found so far: a win beats everything that is none, and a higher score beats a lower one of its kind."""

import pytest
import torch

from struthio.attacks.best import Best


@pytest.mark.parametrize(
    ("offers", "kept"),
    [
        ([(1.0, False)], 0),
        ([(1.0, False), (2.0, False)], 1),
        ([(2.0, False), (1.0, False)], 0),
        ([(2.0, False), (2.0, False)], 0),
        ([(5.0, False), (1.0, True)], 1),
        ([(1.0, True), (5.0, False)], 0),
        ([(1.0, True), (5.0, True)], 1),
        ([(5.0, True), (1.0, True)], 0),
        ([(float("nan"), False), (-3.0, False)], 1),
        ([(-float("inf"), False), (-3.0, False)], 1),
    ],
)
def test_what_is_kept(offers, kept):
    best, rows = Best(torch.full((1, 2), -1.0)), torch.tensor([0])
    for index, (score, won) in enumerate(offers):
        best.offer(rows, torch.full((1, 2), float(index)), torch.tensor([score]), torch.tensor([won]))
    assert best.value.tolist() == [[kept, kept]]


def test_rows_are_kept_apart():
    begin, one = torch.zeros(3, 1), torch.ones(2)
    best = Best(begin)
    better = best.offer(torch.tensor([2, 0]), torch.tensor([[5.0], [6.0]]), one, one < 0)
    assert better.tolist() == [True, True]
    better = best.offer(torch.tensor([0, 1]), torch.tensor([[7.0], [8.0]]), 0 * one, one > 0)
    assert better.tolist() == [True, True]
    assert best.value.flatten().tolist() == [7, 8, 5]
    assert best.won.tolist() == [True, True, False]
    assert begin.abs().max() == 0
