"""Certificates of networks that are known from elsewhere."""

import os
from pathlib import Path

import pytest
import torch
from torch import nn

import struthio as st


def digits(count):
    _, x, labels = next(iter(st.load_data("data:digits").batches(count)))
    return x, labels


def test_digits_robust_at_a_small_radius_and_no_attack_below():
    model, (x, labels) = st.load("zoo:digits-robust"), digits(6)
    threat = st.Linf(0.03)
    found = st.certify(model, x, labels, threat)
    assert found.rate >= 5 / 6
    assert found.reason is None
    result = st.PGD(steps=20, loss=st.Margin())(model, x, st.Untargeted(labels), threat)
    margin = -result.score.double()
    assert bool((found.lower <= margin + 1e-4).all())
    assert not bool((found.certified & result.success).any())
    loose = st.certify(model, x, labels, threat, "interval")
    assert bool((loose.lower <= found.lower).all())
    nothing = st.certify(st.load("zoo:digits-cnn"), x[:2], labels[:2], st.Linf(0.3), "interval")
    assert not bool(nothing.certified.any())


def test_the_call_is_there_however_it_is_reached():
    import struthio.certify

    x, labels = torch.tensor([[0.9, 0.1]]), torch.tensor([0])
    for call in (st.certify, struthio.certify, struthio.certify.certify):
        assert call(nn.Identity(), x + 0, labels, st.Linf(0.1)).reason is not None
        assert bool(call(nn.Linear(2, 2).requires_grad_(False), x, labels, st.Linf(0.1)).lower.isfinite().all())


def convex_network():
    path = Path(os.environ["STRUTHIO_DATA"]) / "checkpoints" / "convex_mnist.pth"
    model = nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 100),
        nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip
    model.load_state_dict(torch.load(path, weights_only=True, map_location="cpu"))
    return model.eval()


@pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA names no checkpoint and no MNIST")
@pytest.mark.parametrize("count", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_a_provably_robust_network(count):
    """Wong and Kolter, 2018, arXiv 1711.00851: at Linf 0.1 its error is at most 5.82 % over the 10,000 test digits."""
    data = st.load_data(os.environ["STRUTHIO_DATA"] + "/mnist:test")
    _, x, labels = next(iter(data.batches(count)))
    found = st.certify(convex_network(), x, labels, st.Linf(0.1))
    assert found.rate >= (7 / 8 if count == 8 else 0.90)
