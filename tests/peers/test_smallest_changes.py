"""Smallest changes beside adversarial-library with the same options: no larger, and no row lost."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import struthio as st
from bench import peers
from struthio.rows import norm
from struthio.testing import small_inputs, small_net


@pytest.fixture(scope="module")
def task() -> tuple[nn.Module, Tensor, Tensor]:
    """A small network in single precision, and rows with the classes it gives them."""
    if "adversarial-library" not in peers.installed():
        pytest.skip("adversarial-library is not installed: make bench, or pip install -r bench/requirements*.txt")
    peers.stand_in_for_missing()
    model, x = small_net(8).float(), small_inputs(8, 8).float()
    return model, x, model(x).argmax(1)


def test_carlini_wagner_in_linf(task: tuple[nn.Module, Tensor, Tensor]) -> None:
    from adv_lib.attacks import carlini_wagner_linf

    model, x, y = task
    result = st.CarliniWagnerLinf(steps=30, c=0.01, step=0.005)(model, x, st.Untargeted(y), st.Linf())
    theirs = carlini_wagner_linf(model, x, y, learning_rate=0.005, max_iterations=30, initial_const=0.01)
    assert result.success.all()
    assert result.size.median() <= 1.01 * norm(theirs - x, torch.inf).median()


@pytest.mark.parametrize("ball", [st.L2, st.Linf])
def test_trust_region(task: tuple[nn.Module, Tensor, Tensor], ball: type[st.L2 | st.Linf]) -> None:
    from adv_lib.attacks import tr

    model, x, y = task
    result = st.TrustRegion(steps=100)(model, x, st.Untargeted(y), ball())
    theirs = tr(model, x.clone(), y, iter=100, adaptive=True, p=ball.p)
    won = model(theirs).argmax(1) != y  # it often gets stuck short of the boundary
    assert (result.success | ~won).all()
    assert won.any()
    assert (result.size[won] / norm(theirs - x, ball.p)[won]).median() <= 1.01
