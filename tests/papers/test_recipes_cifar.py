"""What recipes promise of natural pictures, on 10,000 of CIFAR-10 and small networks. Each test names its source."""

import functools
import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from bench.nets import packed
from struthio.models.normalize import Normalize
from struthio.train.adversarial import WithThreat
from struthio.train.adversary import adversary
from struthio.train.advprop import AdvProp
from struthio.train.fgsm_at import FGSMAT
from struthio.zoo.cifar import MEAN, STD, PreActBlock
from tests.train.steps import train

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA names no folder with cifar10"),
]

EPS = st.Linf(4 / 255)  # as in the paper


@functools.cache
def data(split, rows):
    return packed(Path(os.environ["STRUTHIO_DATA"]) / "cifar10" / f"{split}_jpeg.npz", rows)


def residual():
    """Two pre-activation blocks at a quarter and an eighth of the side."""
    return nn.Sequential(
        Normalize(MEAN, STD), nn.Conv2d(3, 16, 4, 2, 1, bias=False), PreActBlock(16, 32, 2), PreActBlock(32, 64, 2),
        nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


@functools.cache
def trained(recipe):
    torch.manual_seed(0)
    model = train(recipe.prepare(residual()), recipe, *data("train", 10_000), 4, batch=100, lr=2e-3)
    return recipe.finish(model).eval()


@torch.no_grad()
def accuracy(model, x, y):
    return float((model(x).argmax(1) == y).float().mean())


@dataclass(frozen=True)
class Together(WithThreat):
    """Clean and attacked inputs in one batch, through one batch-norm: what AdvProp takes apart."""

    paper: ClassVar[str] = AdvProp.paper

    def loss(self, model, x, y, moment):
        x_adv = adversary(model, x, st.Untargeted(y), self.now(x, moment), st.FGSM(), moment.generator)
        return 2 * F.cross_entropy(model(torch.cat([x, x_adv])), torch.cat([y, y]))


@pytest.mark.parametrize(
    "mixed",
    [
        Together(EPS),
        pytest.param(FGSMAT(EPS), marks=pytest.mark.xfail(strict=True, reason="clean .4715 and .4635, 0.8 points")),
    ],
)
def test_advprop_keeps_the_clean_accuracy_that_one_batch_norm_loses(mixed):
    """Xie et al., 2020, by the one step that it takes for its smallest networks.

    Their one batch-norm sees both halves at once; that of FGSMAT sees each by itself, and mixes what it remembers.
    """
    apart, one = (accuracy(trained(recipe), *data("test", 2000)) for recipe in (AdvProp(EPS, attack=st.FGSM()), mixed))
    print(f"clean: apart {apart:.4f}, one batch-norm {one:.4f}")
    assert apart >= one + 0.01
