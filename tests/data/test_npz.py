"""NumPy archives: layouts, names, splits, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from struthio.checks import UserError
from struthio.data.samples import OnDisk
from struthio.data.sets import load_data

LEVELS = np.random.default_rng(0).integers(0, 256, (7, 3, 8, 5), dtype=np.uint8)  # NCHW
EXPECTED = torch.from_numpy(LEVELS) / 255
LABELS = np.arange(7)


def saved(tmp_path, compressed=False, **arrays):
    path = tmp_path / "a.npz"
    (np.savez_compressed if compressed else np.savez)(path, **arrays)
    return str(path)


def whole(data, size=3):
    return torch.cat([x for _, x, _ in data.batches(size)])


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "x",
    [
        LEVELS,
        LEVELS.transpose(0, 2, 3, 1),  # stored in Fortran-like order by its strides
        np.ascontiguousarray(LEVELS.transpose(0, 2, 3, 1)),
        LEVELS.astype(np.float32) / np.float32(255),
        np.asfortranarray(LEVELS),
    ],
    ids=["nchw", "nhwc-view", "nhwc", "float", "fortran"],
)
def test_layouts_give_the_same_rows(tmp_path, x, compressed):
    data = load_data(saved(tmp_path, compressed, x=x, y=LABELS))
    assert torch.allclose(whole(data), EXPECTED, atol=1e-7)
    assert data.y.tolist() == list(range(7))
    assert data.y.dtype == torch.int64


def test_uncompressed_arrays_stay_on_disk(tmp_path):
    assert isinstance(load_data(saved(tmp_path, x=LEVELS, y=LABELS)).x.rows.array, OnDisk)


def test_grey_without_channels_and_features(tmp_path):
    assert torch.equal(whole(load_data(saved(tmp_path, images=LEVELS[:, 0]))), EXPECTED[:, :1])
    features = np.linspace(-3, 3, 12, dtype=np.float32).reshape(4, 3)
    assert whole(load_data(saved(tmp_path, x=features))).tolist() == features.tolist()


def test_names_and_splits(tmp_path):
    y = LABELS[:, None]
    spec = saved(tmp_path, x_train=LEVELS, y_train=y, x_test=LEVELS[:2], y_test=y[:2], class_names=list("abcdefg"))
    assert (len(load_data(spec)), len(load_data(spec + ":test")), len(load_data(spec + ":train"))) == (2, 2, 7)
    assert load_data(spec).class_names == tuple("abcdefg")
    assert load_data(saved(tmp_path, images=LEVELS, labels=LABELS)).y.tolist() == list(range(7))
    with pytest.raises(UserError, match="x_train"):
        load_data(saved(tmp_path, x=LEVELS) + ":train")


def test_size_settles_an_ambiguous_layout_and_converts(tmp_path):
    x = np.random.default_rng(1).integers(0, 256, (2, 3, 9, 3), dtype=np.uint8)
    spec = saved(tmp_path, x=x)
    with pytest.raises(UserError, match="both the second and the last"):
        load_data(spec)
    assert torch.equal(whole(load_data(spec, size=(3, 9, 3))), torch.from_numpy(x) / 255)
    assert torch.equal(whole(load_data(spec, size=(3, 3, 9))), torch.from_numpy(x).permute(0, 3, 1, 2) / 255)
    assert whole(load_data(saved(tmp_path, x=LEVELS), size=(1, 16, 16))).shape == (7, 1, 16, 16)


FLOATS = LEVELS / 255.0
NAN = FLOATS.copy()
NAN[5, 0, 0, 0] = np.nan


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": NAN}, "NaN or infinity, first in row 5"),
        ({"x": LEVELS.astype(np.float32)}, "8-bit levels. Divide by 255"),
        ({"x": FLOATS * 4 - 2}, "Undo its normalisation"),
        ({"x": LEVELS.astype(np.int64)}, "save 8-bit levels as uint8"),
        ({"x": LEVELS[:, :, :, :, None]}, "has shape"),
        ({"x": LEVELS[:, :2]}, "neither the second nor the last"),
        ({"x": LEVELS[:0]}, "holds no rows"),
        ({"z": LEVELS}, "holds the arrays z; one named x or images"),
        ({"x": LEVELS, "y": LABELS[:3]}, "holds 7 rows but labels of shape"),
        ({"x": LEVELS, "y": LABELS - 1}, "the label -1"),
        ({"x": LEVELS, "y": LABELS + 0.5}, "whole class numbers"),
        ({"x": LEVELS, "y": np.eye(7)}, r"y\.argmax\(1\)"),
        ({"x": LEVELS, "y": LABELS, "classes": list("ab")}, "the label 6 but names only 2"),
        ({"x": np.array([LEVELS, "code"], dtype=object)}, "Python objects.*refused"),
        ({"x": LEVELS, "y": np.array([None] * 7)}, "Python objects.*refused"),
    ],
)
def test_bad_arrays_are_refused_when_loaded(tmp_path, arrays, message):
    with pytest.raises(UserError, match=message):
        load_data(saved(tmp_path, **arrays))


@pytest.mark.parametrize("keep", [0, 10, 300])
def test_archives_cut_short(tmp_path, keep):
    spec = saved(tmp_path, x=LEVELS)
    content = (tmp_path / "a.npz").read_bytes()
    (tmp_path / "a.npz").write_bytes(content[:keep])
    with pytest.raises(UserError, match=r"no whole \.npz archive"):
        load_data(spec)
