"""Struthio: the workbench for adversarial robustness. Attack, explain, harden, certify, audit.

Names are imported when they are first used, so that the command line can answer before torch is loaded.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from struthio._version import __version__

if TYPE_CHECKING:
    from struthio.attacks import (
        ALMA,
        APGD,
        APGDT,
        BIM,
        DDN,
        DIFGSM,
        EAD,
        FAB,
        FABT,
        FGSM,
        FMN,
        JSMA,
        MIFGSM,
        NES,
        NIFGSM,
        PDGD,
        PDPGD,
        PGD,
        RFGSM,
        SINIFGSM,
        SPSA,
        TIFGSM,
        VMIFGSM,
        ZOO,
        Attack,
        Bandits,
        Boundary,
        CarliniWagner,
        CarliniWagnerLinf,
        Cascade,
        DeepFool,
        EachTarget,
        FewPixels,
        Forged,
        GeoDA,
        HopSkipJump,
        RandomSearch,
        RayS,
        Repeat,
        SigmaZero,
        SimBA,
        SmallestRadius,
        SparseRS,
        SpatialSearch,
        Square,
        SuperDeepFool,
        forge,
    )
    from struthio.checks import UserError
    from struthio.data import load_data
    from struthio.goals import Both, Drift, Targeted, Untargeted, least_likely
    from struthio.gradients import Autograd, Averaged, Diverse, Estimated, Scaled, Smoothed, Translated
    from struthio.losses import DLR, CrossEntropy, Divergence, Logit, Margin
    from struthio.meter import BudgetSpent, Metered
    from struthio.models import (
        Endpoint,
        LogitEnsemble,
        Normalize,
        Request,
        StandIn,
        check_contract,
        labels_only,
        load,
        prepare,
        scores_only,
        with_stand_ins,
    )
    from struthio.result import Result
    from struthio.rows import RowGenerator
    from struthio.threats import L0, L1, L2, Box, Levels, Linf, Masked, Spatial, threat

_HOMES = {
    "struthio.attacks": (
        "ALMA APGD APGDT BIM DDN DIFGSM EAD FAB FABT FGSM FMN JSMA MIFGSM NES NIFGSM PDGD PDPGD PGD RFGSM SINIFGSM "
        "SPSA TIFGSM VMIFGSM ZOO Attack Bandits Boundary CarliniWagner CarliniWagnerLinf Cascade DeepFool EachTarget "
        "FewPixels Forged GeoDA HopSkipJump RandomSearch RayS Repeat SigmaZero SimBA SmallestRadius SparseRS "
        "SpatialSearch Square SuperDeepFool forge"
    ),
    "struthio.checks": "UserError",
    "struthio.data": "load_data",
    "struthio.goals": "Both Drift Targeted Untargeted least_likely",
    "struthio.gradients": "Autograd Averaged Diverse Estimated Scaled Smoothed Translated",
    "struthio.losses": "DLR CrossEntropy Divergence Logit Margin",
    "struthio.meter": "BudgetSpent Metered",
    "struthio.models": (
        "Endpoint LogitEnsemble Normalize Request StandIn check_contract labels_only load prepare scores_only "
        "with_stand_ins"
    ),
    "struthio.result": "Result",
    "struthio.rows": "RowGenerator",
    "struthio.threats": "L0 L1 L2 Box Levels Linf Masked Spatial threat",
}
_HOME = {name: home for home, names in _HOMES.items() for name in names.split()}

__all__ = [
    "ALMA",
    "APGD",
    "APGDT",
    "BIM",
    "DDN",
    "DIFGSM",
    "DLR",
    "EAD",
    "FAB",
    "FABT",
    "FGSM",
    "FMN",
    "JSMA",
    "L0",
    "L1",
    "L2",
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
    "Autograd",
    "Averaged",
    "Bandits",
    "Both",
    "Boundary",
    "Box",
    "BudgetSpent",
    "CarliniWagner",
    "CarliniWagnerLinf",
    "Cascade",
    "CrossEntropy",
    "DeepFool",
    "Divergence",
    "Diverse",
    "Drift",
    "EachTarget",
    "Endpoint",
    "Estimated",
    "FewPixels",
    "Forged",
    "GeoDA",
    "HopSkipJump",
    "Levels",
    "Linf",
    "Logit",
    "LogitEnsemble",
    "Margin",
    "Masked",
    "Metered",
    "Normalize",
    "RandomSearch",
    "RayS",
    "Repeat",
    "Request",
    "Result",
    "RowGenerator",
    "Scaled",
    "SigmaZero",
    "SimBA",
    "SmallestRadius",
    "Smoothed",
    "SparseRS",
    "Spatial",
    "SpatialSearch",
    "Square",
    "StandIn",
    "SuperDeepFool",
    "Targeted",
    "Translated",
    "Untargeted",
    "UserError",
    "__version__",
    "check_contract",
    "forge",
    "labels_only",
    "least_likely",
    "load",
    "load_data",
    "prepare",
    "scores_only",
    "threat",
    "with_stand_ins",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'struthio' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
