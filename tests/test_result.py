"""What came out: rows of it, its rate, its words, and several joined."""

import torch

from struthio.result import Result, joined


def result(n, won):
    return Result(
        x_adv=torch.rand(n, 3),
        success=torch.tensor(won),
        size=torch.arange(n).float(),
        score=torch.zeros(n),
        forwards=torch.full((n,), 3),
        backwards=torch.full((n,), 2),
        predicted=torch.zeros(n, dtype=torch.int64),
    )


def test_rows_and_rate():
    whole = result(4, [True, False, True, True])
    assert whole.rate == 0.75
    assert len(whole) == 4
    part = whole[torch.tensor([2, 1])]
    assert part.rate == 0.5
    assert part.size.tolist() == [2, 1]
    assert torch.equal(part.x_adv, whole.x_adv[[2, 1]])


def test_words():
    text = repr(result(4, [True, False, True, True]))
    assert text == "Result(3 of 4 rows succeeded, median size 2, 3 forwards and 2 backwards a row)"
    assert "median size none" in repr(result(2, [False, False]))


def test_joined():
    parts = [result(2, [True, False]), result(1, [True])]
    whole = joined(parts)
    assert whole.success.tolist() == [True, False, True]
    assert torch.equal(whole.x_adv, torch.cat([part.x_adv for part in parts]))
