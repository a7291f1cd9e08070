"""Every promise, on every threat: the four balls plain, with a radius a row, masked, on levels, without limits."""

import pytest
import torch

from struthio.testing import small_inputs, threat_promises
from struthio.threats import L0, L1, L2, Box, Levels, Linf, Masked

WIDE = Box(-1.0, 1.0)
CHANNELS = Box(torch.tensor([0.0, -1.0, 0.25])[:, None, None], torch.tensor([1.0, 1.0, 2.0])[:, None, None])
RADII = torch.tensor([2.0, 0.5, 1.0], dtype=torch.float64)
MASK = torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.5
MASKS = torch.rand(3, 3, 5, 5, generator=torch.Generator().manual_seed(0)) < 0.5

EIGHT, FIVE, PLAIN = small_inputs(8, 8), small_inputs(3, 5), small_inputs(3, 5, box=WIDE)
CASES = {
    "linf": (Linf(8 / 255), EIGHT),
    "l2": (L2(0.5), EIGHT),
    "l1": (L1(5.0), EIGHT),
    "l0": (L0(10), EIGHT),
    "l0 pixels": (L0(6, unit="pixel"), EIGHT),
    "linf radius a row": (Linf(RADII / 20), FIVE),
    "l2 radius a row": (L2(RADII), FIVE),
    "l1 radius a row": (L1(RADII * 5), FIVE),
    "l0 radius a row": (L0(RADII * 6), FIVE),
    "linf in [-1, 1]": (Linf(0.1, WIDE), PLAIN),
    "l2 in [-1, 1]": (L2(1.0, WIDE), PLAIN),
    "l1 in [-1, 1]": (L1(5.0, WIDE), PLAIN),
    "l0 in [-1, 1]": (L0(5, WIDE), PLAIN),
    "l2 limits by channel": (L2(1.0, CHANNELS), small_inputs(3, 5, box=CHANNELS)),
    "l1 limits by channel": (L1(3.0, CHANNELS), small_inputs(3, 5, box=CHANNELS)),
    "linf no limits": (Linf(0.1, None), EIGHT),
    "l2 no limits": (L2(1.0, None), EIGHT),
    "l1 no limits": (L1(5.0, None), EIGHT),
    "l0 no limits": (L0(5, None), EIGHT),
    "linf masked": (Masked(Linf(0.1), MASK), EIGHT),
    "l2 masked": (Masked(L2(0.5), MASK), EIGHT),
    "l1 a mask a row": (Masked(L1(RADII * 2), MASKS, each=True), FIVE),
    "l0 a mask a row": (Masked(L0(RADII * 2), MASKS, each=True), FIVE),
    "tables": (L2(1.0, None), torch.randn(4, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(0))),
    "linf levels": (Levels(Linf(8 / 255)), EIGHT),
    "linf levels, radius between two": (Levels(Linf(8.6 / 255)), EIGHT),
    "l2 levels": (Levels(L2(0.3)), EIGHT),
    "l1 levels": (Levels(L1(2.0)), EIGHT),
    "l0 levels": (Levels(L0(9)), EIGHT),
    "levels in [-1, 1]": (Levels(L2(0.5, WIDE), box=WIDE), PLAIN),
    "levels masked": (Masked(Levels(Linf(8 / 255)), MASK), EIGHT),
    "masked on levels": (Levels(Masked(L2(0.3), MASK)), EIGHT),
}


@pytest.mark.parametrize("promise", threat_promises(), ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("case", CASES)
def test_threat(case, promise):
    promise(*CASES[case])
