"""Every promise, on every detector of the registry (being listed is being tested) and on some with other options."""

import pytest
import torch

from struthio.defenses.training import Course
from struthio.detectors import Detector
from struthio.detectors.any_of import AnyOf
from struthio.detectors.binary import BinaryInput, BinaryLayer
from struthio.detectors.consistency import Consistency
from struthio.detectors.dropout import DropoutUncertainty
from struthio.detectors.gan import Discriminator
from struthio.detectors.kernel_density import KernelDensity
from struthio.detectors.magnet import ReconstructionDivergence, ReconstructionError
from struthio.detectors.mahalanobis import Mahalanobis
from struthio.detectors.pca import PCATail
from struthio.detectors.registry import DETECTORS, detector_class
from struthio.testing import BrokenPromise, check_detector, detector_promises

PROMISES = detector_promises()
QUICK = {
    "binary-input": lambda: BinaryInput(Course(epochs=2)),
    "discriminator": lambda: Discriminator(epochs=3, width=32),
    "reconstruction-error": lambda: ReconstructionError(4, (4,), 0.05, Course(6, 32, 0.02)),
    "reconstruction-divergence": lambda: ReconstructionDivergence(1, (4,), 0.05, Course(4, 32, 0.02)),
    "any-of": lambda: AnyOf([ReconstructionError(4, (4,), 0.05, Course(6, 32, 0.02)), PCATail()]),
    "consistency": lambda: Consistency(passes=5),
    "dropout-uncertainty": lambda: DropoutUncertainty(passes=5),
    "kernel-density": lambda: KernelDensity(passes=5),
}
VARIED = {
    "binary-layer, dynamic": lambda: BinaryLayer(("2",), dynamic=0.1, steps=2, course=Course(epochs=1, lr=3e-3)),
    "kernel-density, without dropout": lambda: KernelDensity(passes=0),
    "mahalanobis, a step": lambda: Mahalanobis(("2",), magnitude=0.01),
    "pca-tail, white": lambda: PCATail(whiten=True),
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", DETECTORS)
def test_registered(name, promise):
    promise(QUICK.get(name, detector_class(name)))


@pytest.mark.parametrize("name", VARIED)
def test_varied(name):
    check_detector(VARIED[name])


class Honest(Detector):
    """The distance from the nearest clean row."""

    paper = "Nobody, 2024"
    looks = False

    def __init__(self):
        super().__init__()

    def _fit(self, model, x, y, x_adv):
        self.keep(held=x.flatten(1))

    def score(self, x):
        return torch.cdist(x.flatten(1), self.held).amin(1)


class Crowded(Honest):
    """Judges a row by its company."""

    def score(self, x):
        return super().score(x) / super().score(x).mean()


class Restless(Honest):
    """Is random and does not say so."""

    def score(self, x):
        return super().score(x) + 1e-3 * torch.rand(len(x), dtype=x.dtype)


class Masked(Honest):
    """Has no slope and declares no stand-in."""

    def score(self, x):
        return super().score((x * 1000).round() / 1000)


class Upside(Honest):
    """Lower is more suspicious."""

    def score(self, x):
        return -super().score(x)


class Forgetful(Honest):
    """Keeps what it learnt where no stored state finds it."""

    def _fit(self, model, x, y, x_adv):
        self.held = x.flatten(1)

    def build(self, model):
        super().build(model)
        self.held = torch.zeros(1, 192, dtype=torch.float64)


@pytest.mark.parametrize(
    ("kind", "broken"),
    [
        (Crowded, "with the other rows"),
        (Restless, "random is False"),
        (Masked, "declare a stand_in"),
        (Upside, "by chance"),
        (Forgetful, "scores differ"),
    ],
)
def test_the_suite_is_no_rubber_stamp(kind, broken):
    with pytest.raises(BrokenPromise, match=broken):
        check_detector(kind)


def test_an_honest_detector_keeps_all_promises():
    check_detector(Honest)
