"""The linear explanation of Goodfellow, Shlens and Szegedy, 2015, arXiv 1412.6572, number by number."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.threats import Box

WIDE = Box(-10.0, 10.0)


def logistic(w, b=0.0):
    """Scores (0, w.x + b): cross-entropy is softplus of the signed score."""

    def model(x):
        score = x @ w + b
        return torch.stack([torch.zeros_like(score), score], 1)

    return model


@pytest.mark.parametrize("n", [10, 784, 150_528])
def test_the_score_moves_by_eps_times_the_l1_norm(n):
    """w . (x + eps sign w) = w . x + eps m n, with m the mean absolute weight."""
    generator = torch.Generator().manual_seed(n)
    w = torch.randn(n, generator=generator, dtype=torch.float64)
    x, eps = torch.rand(1, n, generator=generator, dtype=torch.float64), 0.01
    result = st.FGSM()(logistic(w), x, st.Untargeted(torch.tensor([0])), st.Linf(eps, box=None))
    shift = float((result.x_adv - x) @ w)
    assert shift == pytest.approx(eps * float(w.abs().sum()), rel=1e-6)
    assert shift == pytest.approx(eps * n * float(w.abs().mean()), rel=1e-6)


def test_the_shift_outgrows_the_score_with_the_root_of_the_dimension():
    """Typical scores grow like sqrt(n), the shift like n: their ratio has exponent 1/2."""
    sizes = [10, 100, 1000, 10_000, 150_528]
    ratios = []
    for n in sizes:
        generator = torch.Generator().manual_seed(n)
        w = torch.randn(n, generator=generator, dtype=torch.float64)
        scores = (torch.rand(200, n, generator=generator, dtype=torch.float64) - 0.5) @ w
        ratios.append(float(0.01 * w.abs().sum() / scores.std()))
    logs = [(math.log(n), math.log(ratio)) for n, ratio in zip(sizes, ratios, strict=True)]
    mean = [sum(column) / len(logs) for column in zip(*logs, strict=True)]
    exponent = sum((a - mean[0]) * (b - mean[1]) for a, b in logs) / sum((a - mean[0]) ** 2 for a, _ in logs)
    assert exponent == pytest.approx(0.5, abs=0.05)


def test_noise_of_the_same_length_does_next_to_nothing():
    """Random signs move the score by ||w||_2 where the slope's signs move it by ||w||_1, sqrt(n) times as much."""
    generator = torch.Generator().manual_seed(0)
    w = torch.randn(10_000, generator=generator, dtype=torch.float64)
    noise = torch.randint(0, 2, (200, 10_000), generator=generator).double() * 2 - 1
    assert float((noise @ w).abs().max()) < 0.06 * float(w.abs().sum())


W = torch.tensor([1.0, 3.0, -1.0, 2.0, 2.0, 3.0], dtype=torch.float64)
TOY = torch.tensor([[1.0, -1.0, 2.0, 0.0, 3.0, -2.0]], dtype=torch.float64)


def test_toy_numbers():
    """Stanford CS230, lecture 4: a score of -4; eps w takes it to 1.6, eps sign(w) only to -1.6."""
    assert float(TOY @ W) == pytest.approx(-4)
    along = TOY + 0.2 * W
    assert along[0].tolist() == pytest.approx([1.2, -0.4, 1.8, 0.4, 3.4, -1.4])
    assert float(along @ W) == pytest.approx(1.6)
    goal = st.Untargeted(torch.tensor([0]))
    signed = st.FGSM()(logistic(W), TOY, goal, st.Linf(0.2, WIDE))
    assert float(signed.x_adv @ W) == pytest.approx(-1.6)
    assert not signed.success.any()
    assert signed.score.item() == pytest.approx(-1.6)


@pytest.mark.parametrize("share", [0.98, 1.02])
def test_toy_thresholds(share):
    """The score turns positive beyond eps = 1/3 for the sign, and 1/7 for the weights, a length of 4/sqrt(28)."""
    goal = st.Untargeted(torch.tensor([0]))
    signed = st.FGSM()(logistic(W), TOY, goal, st.Linf(share / 3, WIDE))
    along = st.FGSM()(logistic(W), TOY, goal, st.L2(share * 4 / math.sqrt(28), WIDE))
    torch.testing.assert_close(along.x_adv, TOY + share / 7 * W)
    assert signed.success.all() == along.success.all() == (share > 1)


@pytest.mark.parametrize("label", [0, 1])
def test_fgsm_is_the_worst_case_of_logistic_regression(label):
    """The worst loss in the box is softplus(eps ||w||_1 - y (w.x + b)), y = +1 or -1, and FGSM reaches it.

    The paper prints softplus(y (eps ||w||_1 - w.x - b)), which holds for y = +1 alone.
    """
    generator = torch.Generator().manual_seed(label)
    w, b, eps = torch.randn(20, generator=generator, dtype=torch.float64), 0.3, 0.25
    x = torch.randn(16, 20, generator=generator, dtype=torch.float64)
    labels = torch.full((16,), label)
    model, y = logistic(w, b), 2 * label - 1
    result = st.FGSM()(model, x, st.Untargeted(labels), st.Linf(eps, WIDE))
    worst = F.softplus(eps * w.abs().sum() - y * (x @ w + b))
    torch.testing.assert_close(F.cross_entropy(model(result.x_adv), labels, reduction="none"), worst, atol=1e-6, rtol=0)
    for _ in range(200):
        other = x + eps * (2 * torch.rand(x.shape, generator=generator, dtype=torch.float64) - 1)
        assert (F.cross_entropy(model(other), labels, reduction="none") <= worst).all()
    printed = F.softplus(y * (eps * w.abs().sum() - x @ w - b))
    assert torch.allclose(printed, worst) == (y == 1)


def test_one_step_toward_a_target_raises_its_probability():
    """Kurakin, Goodfellow, Bengio, 2017, arXiv 1611.01236: on a linear model, certainly."""
    generator = torch.Generator().manual_seed(0)
    model = nn.Linear(30, 5).double()
    x = torch.rand(50, 30, generator=generator, dtype=torch.float64)
    target = model(x).argmin(1)
    result = st.FGSM()(model, x, st.Targeted(target), st.Linf(0.05))
    before, after = (model(z).softmax(1).gather(1, target[:, None]) for z in (x, result.x_adv))
    assert (after > before).all()
