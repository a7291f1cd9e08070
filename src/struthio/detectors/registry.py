"""Detectors by name. Being listed is being tested: `struthio.testing.check_detector` runs every promise on each."""

from __future__ import annotations

from struthio.detectors.base import Detector
from struthio.listed import find

DETECTORS: dict[str, str] = {
    "n-plus-one": "struthio.detectors.n_plus_one:NPlusOne",
    "binary-input": "struthio.detectors.binary:BinaryInput",
    "binary-layer": "struthio.detectors.binary:BinaryLayer",
    "safety-net": "struthio.detectors.safety_net:SafetyNet",
    "pca-tail": "struthio.detectors.pca:PCATail",
    "dropout-uncertainty": "struthio.detectors.dropout:DropoutUncertainty",
    "consistency": "struthio.detectors.consistency:Consistency",
    "squeezing-gap": "struthio.detectors.squeezing:SqueezingGap",
    "lid": "struthio.detectors.lid:LID",
    "mahalanobis": "struthio.detectors.mahalanobis:Mahalanobis",
    "kernel-density": "struthio.detectors.kernel_density:KernelDensity",
    "discriminator": "struthio.detectors.gan:Discriminator",
    "reconstruction-error": "struthio.detectors.magnet:ReconstructionError",
    "reconstruction-divergence": "struthio.detectors.magnet:ReconstructionDivergence",
    "any-of": "struthio.detectors.any_of:AnyOf",
}


def detector_class(name: str) -> type[Detector]:
    """The detector of this name. Raises UserError with the nearest names where there is none."""
    found: type[Detector] = find(name, DETECTORS, "detector", "detectors")
    return found
