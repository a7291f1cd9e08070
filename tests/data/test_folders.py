"""Folders of pictures as data: classes, labels.csv, no labels, sizes, and reading only what is asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from PIL import Image

from struthio.checks import UserError
from struthio.data import samples
from struthio.data.sets import load_data


def write(folder, names, size=(6, 4)):
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", size, (number, 0, 0)).save(folder / name)
    return str(folder)


def levels(data):
    return [(x[:, 0, 0, 0] * 255).round().int().tolist() for _, x, _ in data.batches(2)]


def test_class_folders_are_sorted_by_name(tmp_path):
    spec = write(tmp_path, ["dog/a.png", "cat/b.png", "cat/a.png", "ant/deeper/c.png"])
    (tmp_path / "bee").mkdir()  # a class without pictures keeps its number
    data = load_data(spec)
    assert data.class_names == ("ant", "bee", "cat", "dog")
    assert data.y.tolist() == [0, 2, 2, 3]
    assert data.names == ("ant/deeper/c.png", "cat/a.png", "cat/b.png", "dog/a.png")
    assert levels(data) == [[3, 2], [1, 0]]


def test_folders_named_by_numbers_are_these_classes(tmp_path):
    data = load_data(write(tmp_path, ["2/a.png", "10/a.png", "0/a.png"]))
    assert sorted(data.y.tolist()) == [0, 2, 10]
    assert [name.split("/")[0] for name in data.names] == [str(label) for label in data.y.tolist()]
    assert data.class_names is None


def test_flat_folder_file_and_glob_have_no_labels(tmp_path):
    spec = write(tmp_path, ["b.png", "a.png"])
    for text, rows in ((spec, [[1, 0]]), (spec + "/*.png", [[1, 0]]), (spec + "/b.png", [[0]])):
        data = load_data(text)
        assert data.y is None
        assert levels(data) == rows


@pytest.mark.parametrize(("labels", "y", "names"), [((7, 3), [7, 3], None), (("dog", "cat"), [1, 0], ("cat", "dog"))])
def test_labels_csv(tmp_path, labels, y, names):
    spec = write(tmp_path, ["b.png", "sub/a.png", "unlisted.png"])
    (tmp_path / "labels.csv").write_text(f"label,file\n{labels[0]},b.png\n{labels[1]},sub/a.png\n")
    data = load_data(spec)
    assert (data.y.tolist(), data.class_names, data.names) == (y, names, ("b.png", "sub/a.png"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,class\na.png,1\n", "it needs file and label"),
        ("file,label\nb.png,1\n", r"line 2: there is no file .*b\.png"),
        ("file,label\na.png,\n", r"line 2: a\.png has no label"),
        ("file,label\na.png,-1\n", "the label -1"),
        ("file,label\n", "holds no rows"),
    ],
)
def test_bad_labels_csv(tmp_path, text, message):
    spec = write(tmp_path, ["a.png"])
    (tmp_path / "labels.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load_data(spec)


def test_split_is_a_sub_folder(tmp_path):
    spec = write(tmp_path, ["train/cat/a.png", "val/cat/b.png", "val/dog/c.png"])
    assert len(load_data(spec + ":val")) == 2
    with pytest.raises(UserError, match="no sub-folder 'test'"):
        load_data(spec + ":test")


def test_folders_that_cannot_be_meant(tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="holds no picture"):
        load_data(str(empty))
    with pytest.raises(UserError, match="2 pictures and also sub-folders"):
        load_data(write(tmp_path / "both", ["a.png", "b.png", "cat/a.png"]))


def test_mixed_sizes_need_a_size(tmp_path):
    write(tmp_path, ["a.png"], size=(6, 4))
    write(tmp_path, ["b.png"], size=(5, 9))
    with pytest.raises(UserError, match=r"6 x 4 and .*b\.png is 5 x 9"):
        next(load_data(str(tmp_path)).batches(2))
    for size in ((3, 8, 8), (1, 8, 5)):
        _, x, _ = next(load_data(str(tmp_path), size=size).batches(2))
        assert x.shape == (2, *size)


def test_only_the_batch_asked_for_is_read(tmp_path, monkeypatch):
    data = load_data(write(tmp_path, [f"{i}.png" for i in range(10)]))
    read: list[Path] = []
    real = samples.read_picture
    monkeypatch.setattr(samples, "read_picture", lambda path: read.append(path) or real(path))
    ids, x, _ = next(data.batches(3, start=4))
    assert ids.tolist() == [4, 5, 6]
    assert x.shape == (3, 3, 4, 6)
    assert [path.name for path in read] == ["4.png", "5.png", "6.png"]


@pytest.mark.skipif("STRUTHIO_DATA" not in os.environ, reason="STRUTHIO_DATA is not set")
def test_real_imagenet_pictures():
    data = load_data(os.environ["STRUTHIO_DATA"] + "/imagenet/images", size=(3, 224, 224))
    assert len(data) == 60
    for _, x, _ in data.batches(16):
        assert x.shape[1:] == (3, 224, 224)
        assert bool(((x >= 0) & (x <= 1)).all())
        assert bool((x.flatten(1).std(1) > 0.02).all())
    assert torch.equal(data.x[torch.tensor([59])], x[-1:])
