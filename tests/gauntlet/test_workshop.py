"""Networks are trained once, kept as safetensors, and made anew where anything about them is another."""

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.detectors.any_of import AnyOf
from struthio.detectors.consistency import Consistency
from struthio.detectors.pca import PCATail
from struthio.gauntlet.networks import plain
from struthio.gauntlet.workshop import FITTED, Workshop
from struthio.threats import Linf


def small():
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 10))


@pytest.fixture
def said():
    return []


@pytest.fixture
def shop(tmp_path, said):
    return Workshop(tmp_path, say=said.append)


def trained(shop, **plan):
    return shop.network("small", small, epochs=1, batch=500, **plan)


def test_a_network_is_trained_once(shop, said):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = trained(shop), trained(shop)
    assert said == ["training small"]
    assert len(list(shop.folder.glob("small-*.safetensors"))) == 1
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), again.parameters(), strict=True))
    assert not again.training
    assert torch.equal(torch.random.get_rng_state(), before)
    x, y = shop.rows("digits", "test")
    assert (again(x).argmax(1) == y).float().mean() > 0.6


def test_another_lesson_seed_or_shape_is_another_network(shop, said):
    trained(shop)
    trained(shop, lr=1e-3)
    trained(Workshop(shop.folder, seed=1, say=said.append))
    shop.network("small", lambda: nn.Sequential(*small(), nn.ReLU()), epochs=1, batch=500)
    assert said == ["training small"] * 4
    assert len(list(shop.folder.glob("small-*.safetensors"))) == 4


def test_a_detector_is_fitted_once(shop, said):
    x, _ = shop.rows("digits", "test")
    first, again = (shop.guarded("pca-tail", PCATail(), plain(), Linf(0.3)) for _ in range(2))
    assert said == ["fitting pca-tail"]
    assert torch.allclose(first(x[:50]), again(x[:50]))
    assert first(x).argmax(1).eq(10).float().mean() < 0.1  # of clean rows that it has not seen
    assert FITTED == 1000


def test_another_option_model_or_threat_is_another_detector(shop, said):
    model, wider = (nn.Sequential(nn.Flatten(), nn.Linear(784, classes)) for classes in (10, 11))
    tried = [
        (Consistency(passes=1), model, 0.3),
        (Consistency(passes=2), model, 0.3),
        (Consistency(passes=1), wider, 0.3),
    ]
    tried += [(AnyOf([Consistency(passes=passes)]), model, 0.3) for passes in (1, 2)]
    for detector, of, eps in [*tried, (Consistency(passes=1), model, 0.2), (Consistency(passes=1), model, 0.3)]:
        shop.guarded("consistency", detector, of, Linf(eps))
    assert said == ["fitting consistency"] * 6


def test_photographs_need_data(shop):
    with pytest.raises(UserError, match="--data"):
        shop.rows("cifar")
