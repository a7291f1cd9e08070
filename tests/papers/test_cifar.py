"""On 10,000 pictures of CIFAR-10: what adversarial training of a small network is worth at Linf 8/255."""

import os
from pathlib import Path

import pytest
import torch

import struthio as st
from bench.nets import packed
from struthio.train.fast import FastAT
from struthio.train.fit import fit
from struthio.train.plain import Plain
from struthio.train.plan import Plan
from struthio.zoo.cifar import wide_resnet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA names no folder with cifar10"),
]


def stands(model, x, y, eps):
    """The share of rows that PGD-20 leaves; at 0 those that are right."""
    result = st.PGD(steps=20)(model, x, st.Untargeted(y), st.Linf(eps))
    return 1 - float(result.success.float().mean())


def test_fast_training_beats_plain_training_by_25_points(tmp_path):
    """Wong, Rice, Kolter, 2020, on a fifth of the pictures and a network a hundredth of theirs."""
    folder = Path(os.environ["STRUTHIO_DATA"]) / "cifar10"
    train, (x, y) = packed(folder / "train_jpeg.npz", 10_000), packed(folder / "test_jpeg.npz", 500)
    left = {}
    for name, recipe, epochs in (("plain", Plain(), 10), ("fast-at", FastAT(st.Linf(8 / 255)), 20)):
        torch.manual_seed(0)
        plan = Plan(epochs=epochs, lr=0.2, weight_decay=5e-4, schedule="cyclic", shift=4, flip=True, evaluation=None)
        model = fit(wide_resnet(), train, recipe, plan, to=tmp_path / name).model.eval()
        left[name] = stands(model, x, y, 8 / 255)
        print(f"{name}: clean {stands(model, x, y, 0.0):.3f}, PGD-20 at 8/255 {left[name]:.3f}")
    assert left["fast-at"] >= left["plain"] + 0.25
