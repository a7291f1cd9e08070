"""What may change, and by how much."""

from struthio.threats.balls import L0, L1, L2, Linf
from struthio.threats.box import PIXELS, Box
from struthio.threats.levels import Levels
from struthio.threats.masked import Masked
from struthio.threats.patch import Patch
from struthio.threats.spatial import Spatial
from struthio.threats.table import BALLS, THREATS, threat

__all__ = [
    "BALLS",
    "L0",
    "L1",
    "L2",
    "PIXELS",
    "THREATS",
    "Box",
    "Levels",
    "Linf",
    "Masked",
    "Patch",
    "Spatial",
    "threat",
]
