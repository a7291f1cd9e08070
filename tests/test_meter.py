"""Every question is counted, row by row, and a budget is never exceeded."""

import pytest
import torch

from struthio import UserError
from struthio.meter import BudgetSpent, Metered

X = torch.rand(3, 4)


def model(x):
    return torch.stack([x.sum(1), x.prod(1)], 1)


def test_forwards_and_backwards_are_counted_apart():
    meter = Metered(model, 3)
    x = X.clone().requires_grad_()
    meter(X)
    outputs = meter(x)
    assert meter.forwards.tolist() == [2, 2, 2]
    assert meter.backwards.tolist() == [0, 0, 0]
    torch.autograd.grad(outputs.sum(), x)
    assert meter.backwards.tolist() == [1, 1, 1]


def test_rows_that_left_cost_nothing():
    meter = Metered(model, 3)
    stays = meter[torch.tensor([2, 0])]
    stays(X[:2])
    stays[torch.tensor([0])](X[:1])
    assert meter.forwards.tolist() == [1, 0, 2]
    assert len(stays) == 2


def test_several_views_of_a_row_count_for_it():
    meter = Metered(model, 3)
    x = torch.cat([X, X]).requires_grad_()
    torch.autograd.grad(meter(x).sum(), x)
    assert meter.forwards.tolist() == [2, 2, 2]
    assert meter.backwards.tolist() == [2, 2, 2]


@pytest.mark.parametrize("count", [2, 4, 0])
def test_a_batch_must_match_the_rows(count):
    with pytest.raises(ValueError, match="for 3 rows"):
        Metered(model, 3)(torch.rand(count, 4))


def test_the_budget_is_kept():
    asked = []
    meter = Metered(lambda x: asked.append(len(x)) or model(x), 3, budget=2)
    meter(X)
    part = meter[torch.tensor([0])]
    part(X[:1])
    assert meter.left.tolist() == [0, 1, 1]
    with pytest.raises(BudgetSpent, match="2 forwards a row is spent for 1 rows"):
        meter(X)
    assert asked == [3, 1]
    assert meter.forwards.tolist() == [2, 1, 1]
    meter[torch.tensor([1, 2])](X[1:])
    assert meter.left.tolist() == [0, 0, 0]
    with pytest.raises(BudgetSpent):
        Metered(model, 3, budget=1)(torch.cat([X, X]))


def test_without_a_budget_nothing_is_left_to_count():
    assert Metered(model, 3).left is None


def test_first_outputs_are_looked_at_once():
    seen = []
    meter = Metered(model, 3, first=lambda out: seen.append(out.shape))
    meter[torch.tensor([0])](X[:1])
    meter(X)
    assert seen == [(1, 2)]


def test_another_model_counts_on():
    meter = Metered(model, 3)
    meter(X)
    meter.over(lambda x: 2 * model(x))(X)
    assert meter.forwards.tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (lambda x: (model(x),), "returned a tuple"),
        (lambda x: model(x)[:, 0], r"torch.stack\(\[-z, z\], 1\)"),
        (lambda x: model(x)[:2], r"returned shape \(2, 2\)"),
        (lambda x: model(x)[:, :1], r"torch.cat\(\[-z, z\], 1\)"),
    ],
)
def test_models_that_return_something_else_are_refused(wrong, words):
    with pytest.raises(UserError, match=words):
        Metered(wrong, 3)(X)
