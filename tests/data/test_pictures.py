"""Pictures: every kind of file becomes the pixels known beforehand, and every broken one a sentence."""

from __future__ import annotations

import io
import re
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.checks import UserError
from struthio.data.pictures import (
    find_pictures,
    jpeg_round_trip,
    on_levels,
    png_round_trip,
    read_picture,
    save_png,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def colour_at(path, row, column):
    return tuple((read_picture(path)[:, row, column] * 255).round().int().tolist())


def test_rgb_levels_are_exact(tmp_path):
    levels = np.arange(2 * 5 * 3, dtype=np.uint8).reshape(2, 5, 3) * 8
    Image.fromarray(levels).save(tmp_path / "a.png")
    x = read_picture(tmp_path / "a.png")
    assert x.shape == (3, 2, 5)
    assert x.dtype == torch.float32
    assert torch.equal(x, torch.from_numpy(levels).permute(2, 0, 1) / 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path, orientation):
    upright = Image.new("RGB", (16, 8), "white")
    upright.paste(RED, (0, 0, 8, 4))  # red at the upper left once upright
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the Pillow transposition that each tag asks to be undone
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / "a.png", exif=exif)
    x = read_picture(tmp_path / "a.png")
    assert x.shape == (3, 8, 16)
    assert colour_at(tmp_path / "a.png", 0, 0) == RED
    assert colour_at(tmp_path / "a.png", 7, 15) == colour_at(tmp_path / "a.png", 0, 15) == WHITE


@pytest.mark.parametrize("suffix", ["png", "tiff"])
def test_sixteen_bits_are_scaled_not_cut(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(np.array([[0, 65535], [257, 32896]], dtype=np.uint16)).save(path)
    expected = torch.tensor([[0, 1], [1 / 255, 128 / 255]])
    assert torch.allclose(read_picture(path), expected.expand(3, 2, 2), atol=1e-7)


def test_floating_point_tiff(tmp_path):
    Image.fromarray(np.array([[0, 1], [0.5, 0.25]], dtype=np.float32)).save(tmp_path / "a.tiff")
    assert read_picture(tmp_path / "a.tiff")[1].tolist() == [[0, 1], [0.5, 0.25]]
    for bad, word in ((3.0, "known black and white"), (float("nan"), "NaN")):
        Image.fromarray(np.array([[0, bad]], dtype=np.float32)).save(tmp_path / "b.tiff")
        with pytest.raises(UserError, match=word):
            read_picture(tmp_path / "b.tiff")


@pytest.mark.parametrize(
    ("mode", "colour", "expected"),
    [
        ("L", 51, (51, 51, 51)),
        ("1", 1, WHITE),
        ("LA", (0, 0), WHITE),
        ("LA", (51, 255), (51, 51, 51)),
        ("RGBA", (*RED, 0), WHITE),
        ("RGBA", (*RED, 255), RED),
        ("RGBA", (0, 0, 0, 51), (204, 204, 204)),
    ],
)
def test_modes_of_png(tmp_path, mode, colour, expected):
    Image.new(mode, (4, 3), colour).save(tmp_path / "a.png")
    assert colour_at(tmp_path / "a.png", 2, 3) == expected


def test_palette_with_and_without_transparency(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *GREEN])
    image.putpixel((1, 0), 1)
    image.save(tmp_path / "a.png")
    image.save(tmp_path / "b.png", transparency=1)
    assert [colour_at(tmp_path / "a.png", 0, i) for i in (0, 1)] == [RED, GREEN]
    assert [colour_at(tmp_path / "b.png", 0, i) for i in (0, 1)] == [RED, WHITE]


@pytest.mark.parametrize("suffix", ["jpg", "tiff"])
def test_cmyk(tmp_path, suffix):
    path = tmp_path / f"a.{suffix}"
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(path)  # magenta and yellow ink: red
    assert np.abs(np.subtract(colour_at(path, 4, 4), RED)).max() <= 2


def test_first_frame_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (5, 4), colour) for colour in (RED, GREEN)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert colour_at(tmp_path / "a.gif", 0, 0) == RED


def test_one_pixel_and_very_wide(tmp_path):
    Image.new("RGB", (1, 1), GREEN).save(tmp_path / "a.png")
    Image.new("RGB", (20_000, 10), RED).save(tmp_path / "b.png")
    assert read_picture(tmp_path / "a.png").shape == (3, 1, 1)
    assert read_picture(tmp_path / "b.png").shape == (3, 10, 20_000)


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


@pytest.mark.parametrize("side", [10_000, 30_000])  # Pillow warns of the first and refuses the second
def test_decompression_bomb(tmp_path, side):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    with pytest.raises(UserError, match=r"a\.png has more pixels than the 89 million"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"is empty \(0 bytes\)"),
        (b"Dear reader,\nthis is a letter.", "is text, not a picture .*'Dear reader,'"),
        ("Grüße an alle".encode(), "is text, not a picture"),
        (b"version https://git-lfs.github.com/spec/v1\noid 1", "git lfs pull"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"<?xml version='1.0'?><svg></svg>", "an SVG drawing"),
        (b"\x00\x00\x00\x18ftypheic\x00\x00", "an HEIC photograph"),
        (b"PK\x03\x04....", "a zip archive"),
        (b"\x00\x01\x02\x03\x04\x05\x06\x07\x08", "begins with the bytes 00 01 02 03"),
        (b"\x89PNG\r\n\x1a\n", "a PNG picture that is damaged or cut short"),
    ],
)
def test_what_is_no_picture_is_named(tmp_path, content, message):
    (tmp_path / "cat.png").write_bytes(content)
    with pytest.raises(UserError, match=r"cat\.png " + ".*" + message):
        read_picture(tmp_path / "cat.png")


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "webp", "bmp"])
@pytest.mark.parametrize("part", [0.1, 0.5, 0.8])
def test_truncated_files(tmp_path, kind, part):
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    noise.save(buffer, kind)
    (tmp_path / "cat.png").write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * part)])
    with pytest.raises(UserError, match=r"cat\.png is .*(damaged|cut short|not a picture)"):
        read_picture(tmp_path / "cat.png")


def test_missing_file_suggests_its_neighbour(tmp_path):
    Image.new("RGB", (2, 2)).save(tmp_path / "kitten.png")
    with pytest.raises(UserError, match=r"Did you mean: kitten\.png\?"):
        read_picture(tmp_path / "kiten.png")
    with pytest.raises(UserError, match="does not exist"):
        read_picture(tmp_path / "nowhere" / "a.png")
    with pytest.raises(UserError, match="is a folder"):
        read_picture(tmp_path)


def make(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        Image.new("RGB", (2, 2)).save(folder / name)
    return folder


def test_find_pictures_in_files_folders_and_globs(tmp_path):
    folder = make(tmp_path / "a", "2.png", "1.JPG", "10.png", ".hidden.png")
    make(folder / "deeper", "3.png")
    (folder / "labels.csv").write_text("file,label\n")
    named = make(tmp_path / "b", "x[1].png")
    names = lambda *specs: [path.name for path in find_pictures(specs)]  # noqa: E731
    assert names(folder) == ["1.JPG", "10.png", "2.png"]
    assert names(folder / "2.png", str(folder)) == ["2.png", "1.JPG", "10.png"]
    assert names(folder / "*") == ["1.JPG", "10.png", "2.png"]
    assert names(folder / "**" / "*.png") == ["10.png", "2.png", "3.png"]
    assert names(named / "x[1].png") == ["x[1].png"]


def test_find_pictures_says_what_is_missing(tmp_path):
    (tmp_path / "a.txt").write_text("x")
    empty = make(tmp_path / "empty")
    make(tmp_path / "outer")
    make(tmp_path / "outer" / "inner", "a.png")
    for spec, message in (
        (empty, "holds no picture"),
        (tmp_path / "outer", "Its sub-folders do"),
        (tmp_path / "*.gif", "no picture matches"),
        (tmp_path / "*.txt", "1 other files do"),
        (tmp_path / "b.png", "there is no file"),
    ):
        with pytest.raises(UserError, match=message):
            find_pictures([spec])
    with pytest.raises(UserError, match="no picture was given"):
        find_pictures([])


@pytest.mark.parametrize("channels", [1, 3])
def test_saved_png_is_the_nearest_level(tmp_path, channels):
    x = torch.rand(channels, 5, 8, generator=torch.Generator().manual_seed(0))
    save_png(x, tmp_path / "a.png")
    back = read_picture(tmp_path / "a.png")
    assert torch.equal(back, on_levels(x).expand(3, 5, 8))
    assert torch.equal(png_round_trip(x), on_levels(x))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


def test_on_levels_is_the_nearest_and_keeps_levels():
    k = torch.arange(256) / 255
    assert torch.equal(on_levels(k), k)
    assert on_levels(torch.tensor([0.2, 0.3, 0.8]), levels=3).tolist() == [0, 0.5, 1]


def test_round_trips_go_row_by_row():
    x = torch.rand(3, 3, 16, 8, generator=torch.Generator().manual_seed(1))
    assert torch.equal(jpeg_round_trip(x, 75), torch.stack([jpeg_round_trip(row, 75) for row in x]))
    near, far = (float((jpeg_round_trip(x, quality) - x).abs().mean()) for quality in (95, 5))
    assert 0 < near < far
    flat = torch.full((1, 16, 16), 128 / 255)
    assert torch.equal(jpeg_round_trip(flat, 75), flat)


def test_what_cannot_be_saved(tmp_path):
    with pytest.raises(UserError, match=re.escape("spans [0, 1.5]")):
        save_png(torch.tensor([[[0.0, 1.5]]]), tmp_path / "a.png")
    with pytest.raises(UserError, match="lies in"):
        save_png(torch.full((3, 2, 2), float("nan")), tmp_path / "a.png")
    with pytest.raises(UserError, match="shape"):
        save_png(torch.zeros(2, 3, 4, 4), tmp_path / "a.png")
    with pytest.raises(UserError, match="quality is 0"):
        jpeg_round_trip(torch.zeros(3, 2, 2), 0)
    with pytest.raises(UserError, match="cannot write"):
        save_png(torch.zeros(3, 2, 2), tmp_path / "nowhere" / "a.png")
    assert list(tmp_path.iterdir()) == []
