"""A stored set of adversarial examples: what is written comes back, and takes the place of rows of the batch."""

import numpy as np
import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.testing import small_inputs
from struthio.testing.traces import Counting
from struthio.train.plain import Plain
from struthio.train.static import Static, store
from tests.train.steps import moment


@pytest.fixture
def examples(tmp_path):
    x, y = small_inputs(20, seed=3).float(), torch.arange(20) % 5
    store(tmp_path / "set.npz", x, y)
    return str(tmp_path / "set.npz"), x, y


def asked(recipe, x, y):
    model = Counting(nn.Sequential(nn.Flatten(), nn.Linear(x[0].numel(), 5)))
    loss = recipe(model, x, y, moment(len(x)))
    return model, loss


def test_a_share_of_the_rows_is_exchanged_with_their_labels(examples):
    path, stored, labels = examples
    x, y = torch.zeros(400, 3, 8, 8), torch.zeros(400, dtype=torch.int64)
    model, loss = asked(Static(path, share=0.3), x, y)
    seen = model.asked[0]
    new = seen.flatten(1).any(1)
    assert 0.2 < new.float().mean() < 0.4
    which = (seen[new, None] == stored[None]).flatten(2).all(2)
    assert which.any(1).all()  # each is one of the stored, bit for bit
    assert which.any(0).all()  # and each of them is drawn
    y = y.clone()
    y[new] = labels[which.int().argmax(1)]
    assert torch.equal(loss, Plain()(model.model, seen, y))
    assert not x.any()


def test_a_share_of_one_leaves_no_row(examples):
    model, _ = asked(Static(examples[0], share=1.0), torch.zeros(9, 3, 8, 8), torch.zeros(9, dtype=torch.int64))
    assert model.asked[0].flatten(1).any(1).all()


def test_what_does_not_fit_is_refused(examples, tmp_path):
    path, x, y = examples
    with pytest.raises(UserError, match=r"\(3, 8, 8\), those of the data"):
        asked(Static(path, share=1.0), torch.zeros(4, 1, 8, 8), torch.zeros(4, dtype=torch.int64))
    with pytest.raises(UserError, match="share"):
        Static(path, share=0.0)
    with pytest.raises(UserError, match="labels"):
        store(tmp_path / "other.npz", x, y[:-1])
    np.savez(tmp_path / "bare.npz", x=x.numpy())
    with pytest.raises(UserError, match="no labels"):
        Static(str(tmp_path / "bare.npz"))
    with pytest.raises(UserError, match="nowhere"):
        Static(str(tmp_path / "nowhere.npz"))
