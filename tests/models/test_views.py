"""Views of a model, ensembles, and stand-ins: known answers."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from struthio.checks import UserError
from struthio.losses import Logit
from struthio.models import LogitEnsemble, Logits, StandIn, labels_only, scores_only, with_stand_ins


def constant(*logits: float) -> nn.Module:
    model = nn.Linear(2, len(logits))
    nn.init.zeros_(model.weight)
    model.bias.data = torch.tensor(logits, dtype=torch.float32)
    return model


def test_black_box_views_give_no_gradient() -> None:
    model, x = nn.Linear(3, 4), torch.rand(5, 3, requires_grad=True)
    assert torch.equal(scores_only(model)(x), model(x))
    labels = labels_only(model)(x)
    assert torch.equal(labels.argmax(1), model(x).argmax(1))
    assert torch.equal(labels.sort(1).values, torch.tensor([0.0, 0, 0, 1]).expand(5, 4))
    for view in (scores_only(model), labels_only(model)):
        with pytest.raises((UserError, RuntimeError)):
            torch.autograd.grad(view(x).sum(), x)


def test_ensemble_averages_logits_by_weight() -> None:
    both, x = (constant(0, 4), constant(8, 0)), torch.zeros(1, 2)
    torch.testing.assert_close(LogitEnsemble(both)(x), torch.tensor([[4.0, 2.0]]))
    torch.testing.assert_close(LogitEnsemble(both, weights=[3, 1])(x), torch.tensor([[2.0, 3.0]]))


def test_ensemble_averages_probabilities() -> None:
    halves = constant(math.log(0.5), math.log(0.5)), constant(math.log(0.9), math.log(0.1))
    out = LogitEnsemble(halves, average="probabilities")(torch.zeros(1, 2))
    torch.testing.assert_close(out.exp(), torch.tensor([[0.7, 0.3]]))


def test_ensemble_averages_losses() -> None:
    """`Logit` on the mean log-probabilities is the mean cross-entropy of the members, and so is its slope."""
    torch.manual_seed(0)
    members, x, y = (nn.Linear(3, 4), nn.Linear(3, 4)), torch.rand(5, 3, requires_grad=True), torch.arange(5) % 4
    each = torch.stack([torch.nn.functional.cross_entropy(member(x), y, reduction="none") for member in members])
    mean = (torch.tensor([0.75, 0.25])[:, None] * each).sum(0)
    score = Logit().away(LogitEnsemble(members, weights=[3, 1], average="losses")(x), y)
    torch.testing.assert_close(score, mean)
    slopes = [torch.autograd.grad(value.sum(), x)[0] for value in (score, mean)]
    torch.testing.assert_close(*slopes)


@pytest.mark.parametrize("weights", [[1], [1, 0], [1, -1]])
def test_ensemble_refuses_weights_that_do_not_fit(weights: list[float]) -> None:
    with pytest.raises(UserError, match="weight"):
        LogitEnsemble((constant(0, 1), constant(0, 1)), weights=weights)


def test_log_probabilities_are_logits() -> None:
    model = nn.Linear(3, 4)
    x = torch.rand(5, 3)
    out = Logits(nn.Sequential(model, nn.Softmax(1)))(x)
    torch.testing.assert_close(out, model(x).log_softmax(1))
    assert Logits(nn.Identity())(torch.tensor([[0.0, 1.0]])).isfinite().all()


def test_stand_in_is_exact_forward_and_the_other_backward() -> None:
    x = torch.tensor([[0.2, 1.7]], requires_grad=True)
    identity, triple = StandIn(torch.round), StandIn(torch.round, lambda x: 3 * x)
    for module, slope in ((identity, 1.0), (triple, 3.0)):
        assert torch.equal(module(x), torch.tensor([[0.0, 2.0]]))
        assert torch.equal(torch.autograd.grad(module(x).sum(), x)[0], torch.full((1, 2), slope))


def test_stand_in_of_another_shape_is_refused() -> None:
    with pytest.raises(UserError, match="shape"):
        StandIn(lambda x: x[:, :1])(torch.rand(2, 3, requires_grad=True))


class Round(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.round()


def test_with_stand_ins_replaces_in_a_copy_that_shares_parameters() -> None:
    model = nn.Sequential(nn.Sequential(Round(), nn.BatchNorm1d(3)), nn.Linear(3, 2)).eval()
    before, x = str(model), torch.rand(4, 3, requires_grad=True)
    twin = with_stand_ins(model, {"0.0": None})
    assert torch.equal(twin(x), model(x))
    assert str(model) == before
    assert all(a is b for a, b in zip(twin.parameters(), model.parameters(), strict=True))
    assert all(a is b for a, b in zip(twin.buffers(), model.buffers(), strict=True))
    assert torch.autograd.grad(twin(x).sum(), x)[0].abs().sum() > 0
    assert torch.autograd.grad(model(x).sum(), x)[0].abs().sum() == 0
    twin.train()
    assert not model.training


def test_a_part_and_the_part_inside_it_can_both_stand_in() -> None:
    model = nn.Sequential(nn.Sequential(Round()), nn.Linear(3, 2))
    x = torch.rand(4, 3)
    for order in (("0", "0.0"), ("0.0", "0")):
        assert torch.equal(with_stand_ins(model, dict.fromkeys(order))(x), model(x))


def test_an_unknown_part_is_answered_with_those_known() -> None:
    with pytest.raises(UserError, match=r"no part 'conv'.*0, 1"):
        with_stand_ins(nn.Sequential(nn.Identity(), nn.Identity()), {"conv": None})
