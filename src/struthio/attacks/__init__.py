"""How it is searched. One file is one idea; `registry.py` is the list."""

from struthio.attacks.auto import APGD, APGDT
from struthio.attacks.base import Attack
from struthio.attacks.combine import Cascade, EachTarget, Repeat, SmallestRadius
from struthio.attacks.pgd import BIM, FGSM, PGD, RFGSM
from struthio.attacks.registry import ATTACKS, attack_class, make
from struthio.attacks.transfer import DIFGSM, MIFGSM, NIFGSM, SINIFGSM, TIFGSM, VMIFGSM

__all__ = [
    "APGD",
    "APGDT",
    "ATTACKS",
    "BIM",
    "DIFGSM",
    "FGSM",
    "MIFGSM",
    "NIFGSM",
    "PGD",
    "RFGSM",
    "SINIFGSM",
    "TIFGSM",
    "VMIFGSM",
    "Attack",
    "Cascade",
    "EachTarget",
    "Repeat",
    "SmallestRadius",
    "attack_class",
    "make",
]
