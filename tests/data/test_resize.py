"""Fit: agrees with Pillow's own resizing, is differentiable, and takes any shape in little memory."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.checks import UserError
from struthio.data.resize import Fit, to_channels, to_size


def picture(height, width, seed=0):
    coarse = torch.rand(1, 3, 6, 6, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear")


@pytest.mark.parametrize(("height", "width"), [(300, 451), (451, 300), (256, 341), (50, 60), (600, 600)])
@pytest.mark.parametrize("name", ["bicubic", "bilinear"])
def test_agrees_with_pillow_at_256_and_224(height, width, name):
    x = (picture(height, width) * 255).round() / 255
    image = Image.fromarray((x[0] * 255).byte().permute(1, 2, 0).numpy())
    short = min(height, width)
    new = (256 * width // short, 256 * height // short)
    resized = image.resize(new, Image.Resampling[name.upper()])
    left, top = (new[0] - 224) // 2, (new[1] - 224) // 2
    expected = np.asarray(resized.crop((left, top, left + 224, top + 224)), dtype=np.float32) / 255
    ours = Fit(224, filter=name)(x)[0].permute(1, 2, 0).numpy()
    assert np.abs(ours - expected).max() < 1.6 / 255  # Pillow rounds to 8 bits after each of its two passes


@pytest.mark.parametrize("mode", ["crop", "squash"])
@pytest.mark.parametrize(("height", "width"), [(1, 1), (10, 20_000), (20_000, 10), (3, 5), (224, 224), (1, 5000)])
@pytest.mark.parametrize("size", [(224, 224), (8, 5)])
def test_any_shape_fits_and_flat_stays_flat(mode, height, width, size):
    out = Fit(size, mode)(torch.full((1, 3, height, width), 0.25))
    assert out.shape == (1, 3, *size)
    assert torch.allclose(out, torch.tensor(0.25), atol=1e-6)


def test_what_is_cut_off_a_strip_beforehand_changes_nothing():
    x = picture(40, 400)
    by_hand = torch.nn.functional.interpolate(x, (256, 2560), mode="bicubic", antialias=True)
    left = (2560 - 224) // 2
    assert torch.allclose(Fit(224)(x), by_hand[:, :, 16:240, left : left + 224].clamp(0, 1), atol=1e-5)


@pytest.mark.parametrize(("width", "left"), [(363, 69), (367, 71), (341, 58), (384, 80)])
def test_an_odd_margin_leaves_its_pixel_at_the_right(width, left):
    x = picture(256, width)
    assert torch.equal(Fit(224)(x), x[..., 16:240, left : left + 224])


def test_right_size_is_returned_as_it_is():
    x = torch.rand(2, 3, 8, 5)
    assert Fit((8, 5))(x) is x


def test_output_stays_in_the_unit_interval_on_hard_edges():
    x = (torch.rand(1, 3, 40, 40, generator=torch.Generator().manual_seed(0)) > 0.5).float()
    raw = torch.nn.functional.interpolate(x, (64, 64), mode="bicubic", antialias=True)
    out = Fit(64, "squash")(x)
    assert float(raw.max()) > 1.01  # it does overshoot
    assert float(out.min()) >= 0
    assert float(out.max()) <= 1
    assert torch.equal(out, raw.clamp(0, 1))


def test_gradient_is_the_derivative():
    x = (picture(9, 13)[:, :1] * 0.5 + 0.25).double().requires_grad_()
    assert torch.autograd.gradcheck(Fit((5, 6)), (x,))


def test_white_can_still_be_darkened():
    x = torch.ones(1, 3, 37, 50, requires_grad=True)
    out = Fit(32)(x)
    out.sum().backward()
    assert float(out.detach().max()) <= 1
    assert float(x.grad.sum()) == pytest.approx(3 * 32 * 32, rel=1e-4)


@pytest.mark.parametrize("n", [1, 3, 8])
def test_a_batch_is_its_rows(n):
    x = torch.rand(n, 3, 30, 41, generator=torch.Generator().manual_seed(n))
    fit = Fit((8, 5))
    assert torch.equal(fit(x), torch.cat([fit(row[None]) for row in x]))


def test_grey_and_colour_convert():
    colours = torch.eye(3).view(3, 3, 1, 1)
    assert to_channels(colours, 1).flatten().tolist() == pytest.approx([0.299, 0.587, 0.114])
    assert torch.equal(to_channels(torch.full((2, 1, 3, 4), 0.5), 3), torch.full((2, 3, 3, 4), 0.5))
    with pytest.raises(UserError, match="2 channels and the model wants 3"):
        to_channels(torch.zeros(1, 2, 4, 4), 3)
    with pytest.raises(UserError, match="wants pictures"):
        to_size(torch.zeros(4, 10), (3, 8, 8))


def test_options_that_cannot_be_meant():
    for options in (
        {"size": 0},
        {"size": 8, "margin": 0.5},
        {"size": 8, "mode": "stretch"},
        {"size": 8, "filter": "x"},
    ):
        with pytest.raises(UserError):
            Fit(**options)
