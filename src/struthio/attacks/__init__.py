"""How it is searched. One file is one idea; `registry.py` is the list."""

from struthio.attacks.auto import APGD, APGDT
from struthio.attacks.base import Attack
from struthio.attacks.combine import Cascade, EachTarget, Repeat, SmallestRadius
from struthio.attacks.forging import Forged, forge
from struthio.attacks.minimal.alma import ALMA
from struthio.attacks.minimal.carlini_wagner import CarliniWagner
from struthio.attacks.minimal.carlini_wagner_linf import CarliniWagnerLinf
from struthio.attacks.minimal.ddn import DDN
from struthio.attacks.minimal.deepfool import DeepFool
from struthio.attacks.minimal.ead import EAD
from struthio.attacks.minimal.fab import FAB, FABT
from struthio.attacks.minimal.fmn import FMN
from struthio.attacks.minimal.jsma import JSMA
from struthio.attacks.minimal.pdpgd import PDGD, PDPGD
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.attacks.minimal.superdeepfool import SuperDeepFool
from struthio.attacks.pgd import BIM, FGSM, PGD, RFGSM
from struthio.attacks.queries.bandits import Bandits
from struthio.attacks.queries.boundary import Boundary
from struthio.attacks.queries.few_pixels import FewPixels
from struthio.attacks.queries.geoda import GeoDA
from struthio.attacks.queries.hop_skip_jump import HopSkipJump
from struthio.attacks.queries.nes import NES, SPSA
from struthio.attacks.queries.random_search import RandomSearch
from struthio.attacks.queries.rays import RayS
from struthio.attacks.queries.simba import SimBA
from struthio.attacks.queries.sparse_rs import SparseRS
from struthio.attacks.queries.spatial import SpatialSearch
from struthio.attacks.queries.square import Square
from struthio.attacks.queries.zoo import ZOO
from struthio.attacks.registry import ATTACKS, attack_class, make
from struthio.attacks.transfer import DIFGSM, MIFGSM, NIFGSM, SINIFGSM, TIFGSM, VMIFGSM

__all__ = [
    "ALMA",
    "APGD",
    "APGDT",
    "ATTACKS",
    "BIM",
    "DDN",
    "DIFGSM",
    "EAD",
    "FAB",
    "FABT",
    "FGSM",
    "FMN",
    "JSMA",
    "MIFGSM",
    "NES",
    "NIFGSM",
    "PDGD",
    "PDPGD",
    "PGD",
    "RFGSM",
    "SINIFGSM",
    "SPSA",
    "TIFGSM",
    "VMIFGSM",
    "ZOO",
    "Attack",
    "Bandits",
    "Boundary",
    "CarliniWagner",
    "CarliniWagnerLinf",
    "Cascade",
    "DeepFool",
    "EachTarget",
    "FewPixels",
    "Forged",
    "GeoDA",
    "HopSkipJump",
    "RandomSearch",
    "RayS",
    "Repeat",
    "SigmaZero",
    "SimBA",
    "SmallestRadius",
    "SparseRS",
    "SpatialSearch",
    "Square",
    "SuperDeepFool",
    "attack_class",
    "forge",
    "make",
]
