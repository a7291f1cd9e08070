"""Attacks by name. Being listed is being tested: the contract suite runs every promise on every line."""

from __future__ import annotations

import dataclasses
from typing import Any

from struthio.attacks.base import Attack
from struthio.listed import check_options, find

ATTACKS: dict[str, str] = {
    "fgsm": "struthio.attacks.pgd:FGSM",
    "r-fgsm": "struthio.attacks.pgd:RFGSM",
    "bim": "struthio.attacks.pgd:BIM",
    "pgd": "struthio.attacks.pgd:PGD",
    "odi-pgd": "struthio.attacks.pgd:ODIPGD",
    "mi-fgsm": "struthio.attacks.transfer:MIFGSM",
    "ni-fgsm": "struthio.attacks.transfer:NIFGSM",
    "si-ni-fgsm": "struthio.attacks.transfer:SINIFGSM",
    "di-fgsm": "struthio.attacks.transfer:DIFGSM",
    "ti-fgsm": "struthio.attacks.transfer:TIFGSM",
    "vmi-fgsm": "struthio.attacks.transfer:VMIFGSM",
    "apgd": "struthio.attacks.auto:APGD",
    "apgd-t": "struthio.attacks.auto:APGDT",
    "hop-skip-jump": "struthio.attacks.queries.hop_skip_jump:HopSkipJump",
    "square": "struthio.attacks.queries.square:Square",
    "random-search": "struthio.attacks.queries.random_search:RandomSearch",
    "sparse-rs": "struthio.attacks.queries.sparse_rs:SparseRS",
    "sparse-rs-patch": "struthio.attacks.queries.sparse_rs_patch:SparseRSPatch",
    "spatial-search": "struthio.attacks.queries.spatial:SpatialSearch",
    "deepfool": "struthio.attacks.minimal.deepfool:DeepFool",
    "fab": "struthio.attacks.minimal.fab:FAB",
    "fab-t": "struthio.attacks.minimal.fab:FABT",
    "super-deepfool": "struthio.attacks.minimal.superdeepfool:SuperDeepFool",
    "lbfgs": "struthio.attacks.minimal.lbfgs:LBFGS",
    "jsma": "struthio.attacks.minimal.jsma:JSMA",
    "carlini-wagner": "struthio.attacks.minimal.carlini_wagner:CarliniWagner",
    "carlini-wagner-l0": "struthio.attacks.minimal.carlini_wagner_l0:CarliniWagnerL0",
    "carlini-wagner-linf": "struthio.attacks.minimal.carlini_wagner_linf:CarliniWagnerLinf",
    "ead": "struthio.attacks.minimal.ead:EAD",
    "trust-region": "struthio.attacks.minimal.trust_region:TrustRegion",
    "ddn": "struthio.attacks.minimal.ddn:DDN",
    "pdgd": "struthio.attacks.minimal.pdpgd:PDGD",
    "pdpgd": "struthio.attacks.minimal.pdpgd:PDPGD",
    "alma": "struthio.attacks.minimal.alma:ALMA",
    "sigma-zero": "struthio.attacks.minimal.sigma_zero:SigmaZero",
    "fmn": "struthio.attacks.minimal.fmn:FMN",
    "brendel-bethge": "struthio.attacks.minimal.brendel_bethge:BrendelBethge",
    "auto-minimal": "struthio.attacks.minimal.auto_minimal:AutoMinimal",
    "sparse-fool": "struthio.attacks.minimal.sparse_fool:SparseFool",
    "vfga": "struthio.attacks.minimal.vfga:VFGA",
    "boundary": "struthio.attacks.queries.boundary:Boundary",
    "rays": "struthio.attacks.queries.rays:RayS",
    "simba": "struthio.attacks.queries.simba:SimBA",
    "few-pixels": "struthio.attacks.queries.few_pixels:FewPixels",
    "nes": "struthio.attacks.queries.nes:NES",
    "nes-partial": "struthio.attacks.queries.nes_partial:PartialNES",
    "spsa": "struthio.attacks.queries.nes:SPSA",
    "bandits": "struthio.attacks.queries.bandits:Bandits",
    "zoo": "struthio.attacks.queries.zoo:ZOO",
    "geoda": "struthio.attacks.queries.geoda:GeoDA",
}

UNIVERSAL: dict[str, str] = {  # one change for many inputs: fitted to rows before it is an attack
    "universal-gradient": "struthio.attacks.shared_gradient:UniversalGradient",
    "universal-deepfool": "struthio.attacks.shared_deepfool:UniversalDeepFool",
}


def attack_class(name: str) -> type[Attack]:
    """The attack of this name. Raises UserError with the nearest names where there is none."""
    found: type[Attack] = find(name, ATTACKS, "attack", "attacks")
    return found


def make(name: str, **options: Any) -> Attack:
    """An attack by name with options by name. Raises UserError for an unknown option, listing those that exist."""
    kind = attack_class(name)
    check_options(name, options, (field.name for field in dataclasses.fields(kind)))
    return kind(**options)
