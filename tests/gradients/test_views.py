"""Slopes through views: scales of brightness, random resizing with padding, and blur."""

import pytest
import torch
import torch.nn.functional as F

from struthio import UserError
from struthio.gradients import Autograd, Diverse, Scaled, Translated
from struthio.losses import CrossEntropy
from struthio.rows import RowGenerator
from struthio.testing import small_inputs, small_net

LABELS = torch.tensor([0, 1, 2])
X, NET = small_inputs(3, 8), small_net(8)


def slope(gradient, x=X, model=NET, score=lambda out: CrossEntropy().away(out, LABELS), seed=0):
    return gradient(model, lambda z: x + z, torch.zeros_like(x), score, RowGenerator.seeded(seed, torch.arange(len(x))))


def test_scales_are_averaged():
    x = X.clone().requires_grad_()
    sum(F.cross_entropy(NET(x * 0.5**i), LABELS, reduction="sum") for i in range(3)).backward()
    grad, outputs = slope(Scaled(copies=3))
    torch.testing.assert_close(grad, x.grad / 3)
    torch.testing.assert_close(outputs, NET(X).detach())
    torch.testing.assert_close(slope(Scaled(copies=1))[0], slope(Autograd())[0])


def test_blur_is_a_convolution_with_a_normalised_gaussian():
    ticks = torch.arange(5, dtype=torch.float64) - 2
    kernel = torch.exp(-(ticks[:, None] ** 2 + ticks[None] ** 2) / (2 * 1.5**2))
    kernel = (kernel / kernel.sum()).expand(3, 1, 5, 5)
    grad, _ = slope(Translated(size=5, sigma=1.5))
    torch.testing.assert_close(grad, F.conv2d(slope(Autograd())[0], kernel, padding=2, groups=3))
    torch.testing.assert_close(slope(Translated(size=1))[0], slope(Autograd())[0])


def seen(gradient, x, seed=0):
    """What the model is shown, by a model that remembers."""
    shown = []

    def model(point):
        shown.append(point.detach())
        return point.flatten(1)[:, :4]

    slope(gradient, x, model, lambda out: out.sum(1), seed)
    return shown[0]


def test_unresized_rows_are_untouched():
    torch.testing.assert_close(seen(Diverse(probability=0.0), X), X)
    torch.testing.assert_close(seen(Diverse(probability=1.0, smallest=1.0), X), X)


def test_resized_rows_are_shrunk_onto_black():
    """A white picture becomes a white square of the drawn side, somewhere on black."""
    n, side = 300, 20
    shown = seen(Diverse(probability=1.0, smallest=0.5), torch.ones(n, 1, side, side, dtype=torch.float64))[:, 0]
    rows, columns = (shown > 0.5).any(2), (shown > 0.5).any(1)
    heights, widths = rows.sum(1), columns.sum(1)
    assert torch.equal(heights, widths)
    assert set(heights.tolist()) == set(range(10, 21))
    torch.testing.assert_close(shown.flatten(1).sum(1), (heights * widths).double())
    starts = torch.stack([rows.double().argmax(1), columns.double().argmax(1)], 1)
    assert (starts.amin(0) == 0).all()
    small = heights == 10
    assert starts[small].max() >= 8


def test_resizing_is_bilinear():
    """Shrunk to half, a picture is the mean of its blocks of two by two."""
    x = torch.rand(1, 1, 6, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    blocks = F.avg_pool2d(x, 2)
    for seed in range(200):
        shown = seen(Diverse(probability=1.0, smallest=0.5), x, seed)
        filled = shown[0, 0] != 0
        if int(filled.any(1).sum()) == 3:
            break
    torch.testing.assert_close(shown[0, 0][filled].reshape(3, 3), blocks[0, 0])


def test_rows_draw_their_own_view():
    whole = seen(Diverse(probability=0.7, smallest=0.5), X)
    for row in range(3):
        gradient, generator = Diverse(probability=0.7, smallest=0.5), RowGenerator.seeded(0, torch.tensor([row]))
        shown = []
        gradient(
            lambda point, shown=shown: shown.append(point.detach()) or point.flatten(1)[:, :4],
            lambda z, row=row: X[[row]] + z,
            torch.zeros(1, 3, 8, 8, dtype=torch.float64),
            lambda out: out.sum(1),
            generator,
        )
        torch.testing.assert_close(shown[0][0], whole[row])


def test_slopes_pass_the_resize():
    exact, found = slope(Autograd())[0], slope(Diverse(probability=1.0, smallest=0.8))[0]
    assert found.isfinite().all()
    assert not torch.equal(exact, found)


@pytest.mark.parametrize("gradient", [Diverse(), Translated()])
def test_only_pictures_have_views(gradient):
    with pytest.raises(UserError, match=r"\[n, c, h, w\]"):
        slope(gradient, X.flatten(1))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Scaled(copies=0),
        lambda: Diverse(probability=1.5),
        lambda: Diverse(smallest=0),
        lambda: Translated(size=4),
        lambda: Translated(sigma=0),
    ],
)
def test_options_that_cannot_be_meant(make):
    with pytest.raises(UserError):
        make()
