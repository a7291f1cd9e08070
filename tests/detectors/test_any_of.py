"""Several detectors as one: the largest excess counts, one line is drawn over all, and all of them are stored."""

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.defenses.training import Course
from struthio.detectors.any_of import AnyOf
from struthio.detectors.base import Detector
from struthio.detectors.binary import BinaryLayer
from struthio.detectors.pca import PCATail
from struthio.detectors.squeezing import SqueezingGap


class Value(Detector):
    """One value of a row is its score."""

    paper = "nobody"
    looks = False

    def __init__(self, place):
        super().__init__()
        self.place = place

    def _fit(self, model, x, y, x_adv):
        pass

    def score(self, x):
        return x[:, self.place]


NET = nn.Sequential(nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3)).eval()


def rows(n, seed):
    """Two values of which the second is ten times as wide."""
    x = torch.randn(n, 2, generator=torch.Generator().manual_seed(seed))
    return x * torch.tensor([1.0, 10.0]), torch.arange(n) % 3


def test_the_largest_excess_and_one_line_over_all():
    (x, y), (others, _) = rows(400, 0), rows(400, 1)
    both = AnyOf([Value(0), Value(1)]).fit(NET, x, y).calibrate(others, 0.1)
    one, two = both.parts
    torch.testing.assert_close(both.score(others), torch.maximum(one.excess(others), two.excess(others)))
    assert abs(float((both.score(others) > both.threshold).double().mean()) - 0.1) < 0.01
    assert both.flags(torch.tensor([[9.0, 0.0], [0.0, 90.0], [0.0, 9.0]])).tolist() == [True, True, False]


def test_what_is_stored_is_all_but_the_model(tmp_path):
    """Also of a part that looks into the model, at a layer that `fit` chose."""
    from safetensors.torch import load_file

    x, y = rows(60, 0)

    def make():
        return AnyOf([PCATail(), BinaryLayer(course=Course(1))])

    detector = make().fit(NET, x, y, x + 1).calibrate(rows(60, 1)[0])
    detector.save(tmp_path / "it.safetensors")
    stored = load_file(tmp_path / "it.safetensors")
    assert not any(name.startswith("parts.1.model.") for name in stored)
    again = make().load(tmp_path / "it.safetensors", NET)
    assert torch.equal(again.score(x), detector.score(x))
    assert again.parts[1].layers == detector.parts[1].layers != ()


def test_it_declares_what_its_parts_do():
    assert AnyOf([PCATail(), BinaryLayer()]).supervised
    assert not AnyOf([PCATail(), SqueezingGap()]).supervised
    with pytest.raises(UserError, match="at least one"):
        AnyOf([])
