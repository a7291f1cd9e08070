"""Judges of an input: a score a row, calibrated to a false-positive rate."""

from struthio.detectors.base import Detector
from struthio.detectors.guarded import Guarded
from struthio.detectors.registry import DETECTORS, detector_class

__all__ = ["DETECTORS", "Detector", "Guarded", "detector_class"]
