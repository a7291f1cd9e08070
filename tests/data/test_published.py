"""MNIST's idx files and CIFAR-10's binary files, built by hand from their published descriptions."""

from __future__ import annotations

import gzip
import os
import struct

import numpy as np
import pytest
import torch

from struthio.checks import UserError
from struthio.data.sets import load_data

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 4), dtype=np.uint8)
LABELS = np.array([3, 1, 4, 1, 5, 9], dtype=np.uint8)


def idx(array, kind=0x08):
    return bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def mnist(folder, packed, count=6, part="t10k"):
    for name, array in ((f"{part}-images-idx3-ubyte", IMAGES), (f"{part}-labels-idx1-ubyte", LABELS)):
        content = idx(array[:count])
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content))
        else:
            (folder / name).write_bytes(content)
    return str(folder)


@pytest.mark.parametrize("packed", [False, True])
def test_idx_folder_and_file(tmp_path, packed):
    mnist(tmp_path, packed, count=2, part="train")
    spec = mnist(tmp_path, packed)
    images = f"{spec}/t10k-images-idx3-ubyte" + (".gz" if packed else "")
    for text in (spec, spec + ":test", images):
        data = load_data(text)
        ids, x, y = next(data.batches(4, start=2))
        assert ids.tolist() == [2, 3, 4, 5]
        assert torch.equal(x, torch.from_numpy(IMAGES[2:, None]) / 255)
        assert y.tolist() == [4, 1, 5, 9]
    assert len(load_data(spec + ":train")) == 2
    with pytest.raises(UserError, match="no images of 'val'"):
        load_data(spec + ":val")


def test_idx_without_labels(tmp_path):
    (tmp_path / "pictures.idx").write_bytes(idx(IMAGES))
    data = load_data(str(tmp_path / "pictures.idx"), size=(3, 8, 8))
    assert data.y is None
    assert next(data.batches(9))[1].shape == (6, 3, 8, 8)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty"),
        (idx(IMAGES[:0]), "holds no rows"),
        (b"hello idx", "is not an idx file"),
        (idx(IMAGES)[:10], "cut short"),
        (idx(IMAGES)[:-1], "announces 6 x 5 x 4 bytes but holds 119"),
        (idx(IMAGES) + b"x", "but holds 121"),
        (idx(IMAGES, kind=0x0D), "idx type 0x0d"),
        (idx(LABELS), "these are labels"),
    ],
)
def test_bad_idx(tmp_path, content, message):
    (tmp_path / "a.idx").write_bytes(content)
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path / "a.idx"))


def test_bad_gzip_and_labels_of_another_length(tmp_path):
    path = tmp_path / "a-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx(IMAGES))[:-20])
    with pytest.raises(UserError, match="not a whole gzip file"):
        load_data(str(path))
    path.write_bytes(gzip.compress(idx(IMAGES)))
    (tmp_path / "a-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(LABELS[:5])))
    with pytest.raises(UserError, match="6 rows but labels of shape"):
        load_data(str(path))


@pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA is not set")
@pytest.mark.parametrize(
    ("split", "rows", "first"), [("test", 10_000, [7, 2, 1, 0, 4]), ("train", 60_000, [5, 0, 4, 1, 9])]
)
def test_real_mnist(split, rows, first):
    data = load_data(os.environ["STRUTHIO_DATA"] + "/mnist:" + split)
    assert len(data) == rows
    assert data.y[:5].tolist() == first
    _, x, _ = next(data.batches(1000))
    assert x.shape == (1000, 1, 28, 28)
    assert 0.12 < float(x.mean()) < 0.14  # MNIST's mean is 0.1307


def cifar(folder, **files):
    """Each picture is red all over at a level of its own; green and blue are the level plus 1 and 2."""
    for name, labels in files.items():
        planes = [
            [bytes([label]) + b"".join(bytes([10 * i + c]) * 1024 for c in range(3))] for i, label in enumerate(labels)
        ]
        (folder / f"{name}.bin").write_bytes(b"".join(part for record in planes for part in record))
    return str(folder)


def test_cifar_folder_and_file(tmp_path):
    spec = cifar(tmp_path, data_batch_1=[6, 9], data_batch_2=[4, 1, 1], test_batch=[3, 8])
    test, train = load_data(spec), load_data(spec + ":train")
    assert test.y.tolist() == [3, 8]
    assert test.class_names[3] == "cat"
    assert train.y.tolist() == [6, 9, 4, 1, 1]
    _, x, _ = next(train.batches(3, start=1))  # across the end of the first file
    assert x.shape == (3, 3, 32, 32)
    assert (x[:, :, 31, 0] * 255).round().int().tolist() == [[10, 11, 12], [0, 1, 2], [10, 11, 12]]
    assert torch.equal(train.x[torch.tensor([4, 0])], torch.cat([train.x[torch.tensor([i])] for i in (4, 0)]))
    assert load_data(spec + "/data_batch_2.bin").y.tolist() == [4, 1, 1]
    with pytest.raises(UserError, match="no CIFAR-10 part 'val'"):
        load_data(spec + ":val")


def test_bad_cifar(tmp_path):
    cifar(tmp_path, test_batch=[3, 200])
    with pytest.raises(UserError, match="the label 200 but names only 10"):
        load_data(str(tmp_path))
    (tmp_path / "test_batch.bin").write_bytes(b"x" * 3074)
    with pytest.raises(UserError, match="3074 bytes, no multiple of the 3073"):
        load_data(str(tmp_path))


def test_pickled_cifar_is_refused_unopened(tmp_path):
    harmful = b"cos\nsystem\n(S'touch " + str(tmp_path / "harm").encode() + b"'\ntR."
    for name in ("data_batch_1", "test_batch"):
        (tmp_path / name).write_bytes(harmful)
    for spec in (tmp_path, tmp_path / "test_batch", f"{tmp_path}:train"):
        with pytest.raises(UserError, match=r"pickle.*refused.*cifar-10-binary\.tar\.gz"):
            load_data(str(spec))
    assert not (tmp_path / "harm").exists()
