"""Defences before a model: what they do to pictures, beside independent references, and their stand-ins."""

import io
import itertools

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import struthio as st
from struthio.data.digits import digits
from struthio.defenses import Readout
from struthio.defenses.smooth_jpeg import smooth_jpeg, smooth_round, table
from struthio.defenses.total_variation import least_variation
from struthio.testing import small_inputs


def pictures(n=2, channels=3, side=27, seed=0):
    """Smooth random pictures of any side."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(n, channels, 5, 5, generator=generator)
    return nn.functional.interpolate(coarse, side, mode="bicubic", align_corners=False).clamp(0, 1)


@pytest.mark.parametrize("quality", [5, 49, 50, 75, 95])
def test_the_tables_are_those_of_a_file(quality):
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    tables = Image.open(file).quantization
    assert table(quality).flatten().tolist() == tables[0]
    assert table(quality, colour=True).flatten().tolist() == tables[1]


@pytest.mark.parametrize(("channels", "subsampled"), [(1, True), (3, False), (3, True)])
def test_jpeg_in_torch_is_jpeg_in_a_file(channels, subsampled):
    """With whole rounding both agree up to the rounding of pixels and of colours to whole levels."""
    x = (pictures(channels=channels, side=63) * 255).round() / 255
    for quality in (50, 75):
        saved = st.Jpeg(quality, subsampled)(x)
        ours = smooth_jpeg(x, quality, subsampled, rounded=torch.round)
        assert (saved - ours).abs().mean() < 1 / 255
        assert (saved - ours).abs().quantile(0.98) < 8 / 255
        assert (saved - x).abs().mean() > 1.5 * (saved - ours).abs().mean()  # the file did change the picture


def test_jpeg_leaves_what_a_file_cannot_hold_refused():
    with pytest.raises(st.UserError, match="1 or 3"):
        st.Jpeg(75)(torch.rand(1, 2, 8, 8))
    for quality in (0, 96, 75.0, True):
        with pytest.raises(st.UserError, match="quality"):
            st.Jpeg(quality)


def test_smooth_rounding():
    x = torch.tensor([-1.5, -0.2, 0.0, 0.4, 3.0, 3.25], requires_grad=True)
    (slope,) = torch.autograd.grad(smooth_round(x).sum(), x)
    torch.testing.assert_close(smooth_round(x).detach(), x.detach().round() + (x.detach() - x.detach().round()) ** 3)
    torch.testing.assert_close(slope, 3 * (x.detach() - x.detach().round()) ** 2)


def test_bits():
    x = torch.tensor([[0.0, 0.16, 0.17, 0.5 - 1e-6, 0.84, 1.0]])
    torch.testing.assert_close(st.BitDepth(2)(x), torch.tensor([[0, 0, 1, 1, 3, 3.0]]) / 3)
    torch.testing.assert_close(st.BitDepth(1)(x), torch.tensor([[0, 0, 0, 0, 1, 1.0]]))
    levels = torch.arange(256)[None] / 255
    torch.testing.assert_close(st.BitDepth(8)(levels), levels)


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5])
def test_the_median_is_scipys(size):
    ndimage = pytest.importorskip("scipy.ndimage")
    x = small_inputs(2, side=7)
    expected = ndimage.median_filter(x.numpy(), size=(1, 1, size, size), mode="reflect")
    assert np.array_equal(st.MedianFilter(size)(x).numpy(), expected)


def test_a_median_larger_than_the_picture():
    with pytest.raises(st.UserError, match="9 x 9"):
        st.MedianFilter(9)(small_inputs(1, side=8))


def by_loops(x, window, patch, strength):
    """Non-local means as they are printed, pixel by pixel, on one picture [c, h, w]."""
    reach, half, (_, height, width) = window // 2, patch // 2, x.shape
    mirror = lambda i, side: side - 1 - abs(side - 1 - abs(i))  # noqa: E731

    def around(i, j):
        ticks = range(-half, half + 1)
        return torch.stack([x[:, mirror(i + a, height), mirror(j + b, width)] for a in ticks for b in ticks])

    out = torch.empty_like(x)
    for i, j in itertools.product(range(height), range(width)):
        near = list(itertools.product(range(i - reach, i + reach + 1), range(j - reach, j + reach + 1)))
        weights = torch.stack([(-(around(i, j) - around(*at)).square().mean() / strength**2).exp() for at in near])
        values = torch.stack([x[:, mirror(a, height), mirror(b, width)] for a, b in near])
        out[:, i, j] = (weights[:, None] * values).sum(0) / weights.sum()
    return out


def test_non_local_means_pixel_by_pixel():
    x = small_inputs(2, side=5)
    expected = torch.stack([by_loops(picture, 3, 3, 0.2) for picture in x])
    torch.testing.assert_close(st.NonLocalMeans(3, 3, 0.2)(x), expected)


def test_non_local_means_keep_what_is_flat_and_blur_what_is_all_alike():
    """With a weight of one for everything they are the mean of the window; with none for others, the picture."""
    x = small_inputs(2, side=7)
    torch.testing.assert_close(st.NonLocalMeans(5, 3, 1e-3)(x), x)
    mean = nn.functional.avg_pool2d(nn.functional.pad(x, (2, 2, 2, 2), mode="reflect"), 5, 1)
    torch.testing.assert_close(st.NonLocalMeans(5, 3, 1e3)(x), mean, rtol=1e-4, atol=1e-5)


def test_non_local_means_say_what_they_need():
    with pytest.raises(st.UserError, match="window is 4"):
        st.NonLocalMeans(window=4)
    with pytest.raises(st.UserError, match="sides of at least 7"):
        st.NonLocalMeans()(small_inputs(1, side=6))


def test_squeezing_is_both_in_turn():
    x = small_inputs(3)
    assert torch.equal(st.FeatureSqueezing(2, 3)(x), st.MedianFilter(3)((x * 3).round() / 3))


def test_thermometer_by_hand():
    x = torch.tensor([[0.0, 0.3, 0.25], [0.99, 1.0, 0.5]]).reshape(2, 3, 1, 1)
    planes = st.Thermometer(4)(x).reshape(2, 3, 4).tolist()
    assert planes[0] == [[1, 0, 0, 0], [1, 1, 0, 0], [1, 1, 0, 0]]
    assert planes[1] == [[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 1, 0]]
    one_hot = st.Thermometer(4, "one-hot")(x).reshape(2, 3, 4).tolist()
    assert one_hot[0] == [[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0]]
    assert one_hot[1] == [[0, 0, 0, 1], [0, 0, 0, 1], [0, 0, 1, 0]]


@pytest.mark.parametrize("code", ["thermometer", "one-hot"])
def test_planes_read_back_are_the_middle_of_their_level(code):
    x = small_inputs(2)
    back = Readout(5, code)(st.Thermometer(5, code)(x))
    torch.testing.assert_close(back, ((x * 5).floor().clamp(max=4) + 0.5) / 5)


def test_a_network_behind_planes():
    net = nn.Sequential(st.Thermometer(6), nn.Conv2d(18, 4, 3), nn.Flatten(), nn.LazyLinear(5)).double()
    assert net(small_inputs(2)).shape == (2, 5)


def test_resize_and_pad_draws_a_side_and_a_place_for_each_row():
    torch.manual_seed(0)
    out = st.ResizeAndPad(0.5, fill=0.25)(torch.ones(400, 1, 8, 8))
    inside = out == 1
    heights, widths = inside.any(3).sum(2).flatten(), inside.any(2).sum(2).flatten()
    assert torch.equal(heights, widths)
    assert heights.unique().tolist() == [4, 5, 6, 7]
    assert torch.equal(inside.sum((1, 2, 3)), heights * widths)
    assert out[~inside].unique().tolist() == [0.25]
    tops = inside.any(3).float().argmax(2).flatten()
    for side in (4, 5, 6, 7):
        assert tops[heights == side].unique().tolist() == list(range(8 - side + 1))


def test_resize_and_pad_enlarges_as_published():
    """299 to a side in [310, 331), padded to 331, with the nearest pixels: no new values."""
    x = torch.rand(1, 3, 30, 30) + 0.5
    out = st.ResizeAndPad(31 / 33, size=33)(x)
    assert out.shape == (1, 3, 33, 33)
    assert set(out.unique().tolist()) <= {0.0, *x.unique().tolist()}
    inside = (out[0, 0] > 0).any(0).sum()
    shrunk = nn.functional.interpolate(x, (int(inside), int(inside)), mode="nearest-exact")
    assert torch.equal(out[out > 0], shrunk.flatten())


def objective(z, x, kept, weight):
    """What total variation minimises, as it is printed."""
    lines, columns = z[:, 1:] - z[:, :-1], z[:, :, 1:] - z[:, :, :-1]
    variation = lines.norm(dim=2).sum() + columns.norm(dim=1).sum()
    return (kept * (z - x)).norm() + weight * variation


def test_least_variation_is_the_least():
    """No other minimiser (Adam on the same objective) gets lower than half a percent below."""
    x, _ = digits("test")
    torch.manual_seed(1)
    weight, x = 0.15, x[3:4, :, 8:20, 8:20].double()
    kept = (torch.rand_like(x) < 0.5).double()
    ours = objective(least_variation(x, kept, weight, 200)[0], x[0], kept[0], weight)
    z = (x * kept)[0].clone().requires_grad_()
    optimizer = torch.optim.Adam([z], 0.02)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.98)
    for _ in range(250):
        optimizer.zero_grad()
        loss = objective(z, x[0], kept[0], weight)
        loss.backward()
        optimizer.step()
        schedule.step()
    assert ours <= loss.detach() * 1.005
    assert ours < objective((x * kept)[0], x[0], kept[0], weight) / 1.2


def test_least_variation_treats_every_channel_and_row_alone():
    x = small_inputs(2, side=6)
    kept = (x > 0.4).double()
    whole = least_variation(x, kept, 0.05, 20)
    alone = least_variation(x[1:, 2:], kept[1:, 2:], 0.05, 20)
    torch.testing.assert_close(whole[1:, 2:], alone)


def test_a_flat_picture_is_filled_in_exactly():
    torch.manual_seed(0)
    x = torch.full((1, 1, 8, 8), 0.6)
    torch.testing.assert_close(st.TotalVariation(steps=300)(x), x, atol=0.01, rtol=0)


@pytest.mark.parametrize(
    "defense",
    [
        st.Jpeg(30),
        st.BitDepth(2),
        st.MedianFilter(3),
        st.TotalVariation(),
        st.FeatureSqueezing(),
        st.ResizeAndPad(),
        st.NonLocalMeans(5),
    ],
    ids=lambda defense: type(defense).__name__,
)
def test_pictures_stay_pictures(defense):
    x = small_inputs(2, side=9)
    out = defense(x)
    assert out.shape == x.shape
    assert out.dtype == x.dtype
    assert out.min() >= 0
    assert out.max() <= 1
    if defense.stand_in is not None:
        assert defense.stand_in(x).shape == out.shape
