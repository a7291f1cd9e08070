"""What the contract refuses, and the fix it names."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.models import ContractWarning, Logits, check_contract

X = torch.full((4, 3, 8, 8), 0.5)


def net(channels: int = 3, classes: int = 5) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(channels, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes)).eval()


def test_a_good_model_gives_its_outputs_without_a_word() -> None:
    model = net()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        out = check_contract(model, X, labels=torch.tensor([0, 1, 2, 4]))
    assert torch.equal(out, model(X))
    assert not out.requires_grad


@pytest.mark.parametrize(
    ("x", "words"),
    [
        (X * 6 - 3.2, r"Normalize\(mean, std\)"),
        (X.index_fill(0, torch.tensor([2]), torch.nan), "row 2"),
        ((X * 255).to(torch.uint8), r"float\(\) / 255"),
        (X[:, :1], "channels"),
        (X[:0], "at least one row"),
    ],
)
def test_inputs_that_are_not_meant(x: torch.Tensor, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_contract(net(), x)


@pytest.mark.parametrize("layer", [nn.BatchNorm1d(5), nn.Dropout(0.5)])
def test_training_mode_is_refused_before_statistics_move(layer: nn.Module) -> None:
    model = nn.Sequential(net(), layer).train()
    before = [buffer.clone() for buffer in model.buffers()]
    with pytest.raises(UserError, match=r"model\.eval\(\)"):
        check_contract(model, X)
    assert all(torch.equal(a, b) for a, b in zip(before, model.buffers(), strict=True))


@pytest.mark.parametrize(
    ("tail", "words"),
    [
        (nn.Linear(5, 1), "at least two classes"),
        (nn.Unflatten(1, (5, 1)), "shape"),
    ],
)
def test_outputs_of_the_wrong_shape(tail: nn.Module, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_contract(nn.Sequential(net(), tail).eval(), X)


def test_outputs_that_are_no_tensor_or_not_finite() -> None:
    with pytest.raises(UserError, match="returned a tuple"):
        check_contract(lambda x: (net()(x),), X)
    with pytest.raises(UserError, match="NaN"):
        check_contract(lambda x: net()(x) / 0, X)


def test_independent_labels_are_warned_of() -> None:
    with pytest.warns(ContractWarning, match="behind a sigmoid"):
        check_contract(nn.Sequential(net(), nn.Sigmoid()), X)


def test_probabilities_are_warned_of_and_logits_mend_it() -> None:
    model = nn.Sequential(net(), nn.Softmax(1))
    with pytest.warns(ContractWarning, match=r"Logits\(model\)"):
        check_contract(model, X)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_contract(Logits(model), X)


@pytest.mark.parametrize("labels", [[0, 1, 2, 5], [-1, 0, 0, 0], [0, 1, 2]])
def test_labels_that_are_no_classes_of_the_model(labels: list[int]) -> None:
    with pytest.raises(UserError):
        check_contract(net(), X, labels=torch.tensor(labels))


class Fails(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("logits")


class InPlace(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.mul_(2).flatten(1)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (net().double(), r"torch.float32 on cpu: .* model.float\(\)"),
        (Fails(), r"KeyError: 'logits' \(.*test_contract.py, line \d+\)"),
        (InPlace(), "in place"),
        (lambda x: x.flatten(1).numpy(), "returned a ndarray"),
        (lambda x: x.flatten(1).long(), "torch.int64; scores in floating point"),
    ],
)
def test_models_that_cannot_be_attacked(model: nn.Module, words: str) -> None:
    with pytest.raises(UserError, match=words):
        check_contract(model, X)
