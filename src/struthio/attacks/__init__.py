"""How it is searched. One file is one idea; `registry.py` is the list."""

from struthio.attacks.advgan import AdvGAN
from struthio.attacks.auto import APGD, APGDT
from struthio.attacks.base import Attack
from struthio.attacks.combine import Cascade, EachTarget, Repeat, SmallestOf, SmallestRadius
from struthio.attacks.fitted import adaptive
from struthio.attacks.forging import Forged, forge
from struthio.attacks.generative import Generative
from struthio.attacks.minimal.alma import ALMA
from struthio.attacks.minimal.auto_minimal import AutoMinimal
from struthio.attacks.minimal.brendel_bethge import BrendelBethge
from struthio.attacks.minimal.carlini_wagner import CarliniWagner
from struthio.attacks.minimal.carlini_wagner_l0 import CarliniWagnerL0
from struthio.attacks.minimal.carlini_wagner_linf import CarliniWagnerLinf
from struthio.attacks.minimal.ddn import DDN
from struthio.attacks.minimal.deepfool import DeepFool
from struthio.attacks.minimal.ead import EAD
from struthio.attacks.minimal.fab import FAB, FABT
from struthio.attacks.minimal.fmn import FMN
from struthio.attacks.minimal.jsma import JSMA
from struthio.attacks.minimal.lbfgs import LBFGS
from struthio.attacks.minimal.pdpgd import PDGD, PDPGD
from struthio.attacks.minimal.sigma_zero import SigmaZero
from struthio.attacks.minimal.sparse_fool import SparseFool
from struthio.attacks.minimal.superdeepfool import SuperDeepFool
from struthio.attacks.minimal.trust_region import TrustRegion
from struthio.attacks.minimal.vfga import VFGA
from struthio.attacks.pgd import BIM, FGSM, ODIPGD, PGD, RFGSM
from struthio.attacks.queries.bandits import Bandits
from struthio.attacks.queries.boundary import Boundary
from struthio.attacks.queries.few_pixels import FewPixels
from struthio.attacks.queries.geoda import GeoDA
from struthio.attacks.queries.hop_skip_jump import HopSkipJump
from struthio.attacks.queries.nes import NES, SPSA
from struthio.attacks.queries.nes_partial import PartialNES
from struthio.attacks.queries.random_search import RandomSearch
from struthio.attacks.queries.rays import RayS
from struthio.attacks.queries.simba import SimBA
from struthio.attacks.queries.sparse_rs import SparseRS
from struthio.attacks.queries.sparse_rs_patch import SparseRSPatch
from struthio.attacks.queries.spatial import SpatialSearch
from struthio.attacks.queries.square import Square
from struthio.attacks.queries.zoo import ZOO
from struthio.attacks.registry import ATTACKS, attack_class, make
from struthio.attacks.shared import Fooling, Universal
from struthio.attacks.shared_deepfool import UniversalDeepFool
from struthio.attacks.shared_gradient import UniversalGradient
from struthio.attacks.starts import OutputDiversified
from struthio.attacks.substitute import Substitute, Substituted
from struthio.attacks.suites import AutoAttack
from struthio.attacks.transfer import DIFGSM, MIFGSM, NIFGSM, SINIFGSM, TIFGSM, VMIFGSM
from struthio.attacks.via import Via

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
    "LBFGS",
    "MIFGSM",
    "NES",
    "NIFGSM",
    "ODIPGD",
    "PDGD",
    "PDPGD",
    "PGD",
    "RFGSM",
    "SINIFGSM",
    "SPSA",
    "TIFGSM",
    "VFGA",
    "VMIFGSM",
    "ZOO",
    "AdvGAN",
    "Attack",
    "AutoAttack",
    "AutoMinimal",
    "Bandits",
    "Boundary",
    "BrendelBethge",
    "CarliniWagner",
    "CarliniWagnerL0",
    "CarliniWagnerLinf",
    "Cascade",
    "DeepFool",
    "EachTarget",
    "FewPixels",
    "Fooling",
    "Forged",
    "Generative",
    "GeoDA",
    "HopSkipJump",
    "OutputDiversified",
    "PartialNES",
    "RandomSearch",
    "RayS",
    "Repeat",
    "SigmaZero",
    "SimBA",
    "SmallestOf",
    "SmallestRadius",
    "SparseFool",
    "SparseRS",
    "SparseRSPatch",
    "SpatialSearch",
    "Square",
    "Substitute",
    "Substituted",
    "SuperDeepFool",
    "TrustRegion",
    "Universal",
    "UniversalDeepFool",
    "UniversalGradient",
    "Via",
    "adaptive",
    "attack_class",
    "forge",
    "make",
]
