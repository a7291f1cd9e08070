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
        LBFGS,
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
        VFGA,
        VMIFGSM,
        ZOO,
        AdvGAN,
        Attack,
        AutoAttack,
        Bandits,
        Boundary,
        BrendelBethge,
        CarliniWagner,
        CarliniWagnerL0,
        CarliniWagnerLinf,
        Cascade,
        DeepFool,
        EachTarget,
        FewPixels,
        Forged,
        Generative,
        GeoDA,
        HopSkipJump,
        RandomSearch,
        RayS,
        Repeat,
        SigmaZero,
        SimBA,
        SmallestRadius,
        SparseFool,
        SparseRS,
        SparseRSPatch,
        SpatialSearch,
        Square,
        Substitute,
        Substituted,
        SuperDeepFool,
        TrustRegion,
        Universal,
        UniversalDeepFool,
        UniversalGradient,
        Via,
        forge,
    )
    from struthio.audit import Audit, audit
    from struthio.certify import Certificate, SmoothCertificate, SmoothedModel, bounds, certify, lipschitz_radius
    from struthio.checks import UserError
    from struthio.data import load_data
    from struthio.explain import TransferMatrix, transfer_matrix
    from struthio.goals import Both, Drift, Targeted, Untargeted, least_likely
    from struthio.gradients import Autograd, Averaged, Diverse, Estimated, Scaled, Smoothed, Translated
    from struthio.losses import DLR, CrossEntropy, Divergence, Logit, LogitGap, Margin
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
    from struthio.shares import Share
    from struthio.threats import L0, L1, L2, Box, Levels, Linf, Masked, Patch, Spatial, threat

_HOMES = {
    "struthio.attacks": (
        "ALMA APGD APGDT BIM DDN DIFGSM EAD FAB FABT FGSM FMN JSMA LBFGS MIFGSM NES NIFGSM PDGD PDPGD PGD RFGSM "
        "SINIFGSM SPSA TIFGSM VFGA VMIFGSM ZOO AdvGAN Attack AutoAttack Bandits Boundary BrendelBethge CarliniWagner "
        "CarliniWagnerL0 CarliniWagnerLinf Cascade DeepFool EachTarget FewPixels Forged Generative GeoDA HopSkipJump "
        "RandomSearch RayS Repeat SigmaZero SimBA SmallestRadius SparseFool SparseRS SparseRSPatch SpatialSearch "
        "Square Substitute Substituted SuperDeepFool TrustRegion Universal UniversalDeepFool UniversalGradient Via "
        "forge"
    ),
    "struthio.audit": "Audit audit",
    "struthio.certify": "Certificate SmoothCertificate SmoothedModel bounds certify lipschitz_radius",
    "struthio.checks": "UserError",
    "struthio.data": "load_data",
    "struthio.explain": "TransferMatrix transfer_matrix",
    "struthio.goals": "Both Drift Targeted Untargeted least_likely",
    "struthio.gradients": "Autograd Averaged Diverse Estimated Scaled Smoothed Translated",
    "struthio.losses": "DLR CrossEntropy Divergence Logit LogitGap Margin",
    "struthio.meter": "BudgetSpent Metered",
    "struthio.models": (
        "Endpoint LogitEnsemble Normalize Request StandIn check_contract labels_only load prepare scores_only "
        "with_stand_ins"
    ),
    "struthio.result": "Result",
    "struthio.rows": "RowGenerator",
    "struthio.shares": "Share",
    "struthio.threats": "L0 L1 L2 Box Levels Linf Masked Patch Spatial threat",
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
    "LBFGS",
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
    "VFGA",
    "VMIFGSM",
    "ZOO",
    "AdvGAN",
    "Attack",
    "Audit",
    "AutoAttack",
    "Autograd",
    "Averaged",
    "Bandits",
    "Both",
    "Boundary",
    "Box",
    "BrendelBethge",
    "BudgetSpent",
    "CarliniWagner",
    "CarliniWagnerL0",
    "CarliniWagnerLinf",
    "Cascade",
    "Certificate",
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
    "Generative",
    "GeoDA",
    "HopSkipJump",
    "Levels",
    "Linf",
    "Logit",
    "LogitEnsemble",
    "LogitGap",
    "Margin",
    "Masked",
    "Metered",
    "Normalize",
    "Patch",
    "RandomSearch",
    "RayS",
    "Repeat",
    "Request",
    "Result",
    "RowGenerator",
    "Scaled",
    "Share",
    "SigmaZero",
    "SimBA",
    "SmallestRadius",
    "SmoothCertificate",
    "Smoothed",
    "SmoothedModel",
    "SparseFool",
    "SparseRS",
    "SparseRSPatch",
    "Spatial",
    "SpatialSearch",
    "Square",
    "StandIn",
    "Substitute",
    "Substituted",
    "SuperDeepFool",
    "Targeted",
    "TransferMatrix",
    "Translated",
    "TrustRegion",
    "Universal",
    "UniversalDeepFool",
    "UniversalGradient",
    "Untargeted",
    "UserError",
    "Via",
    "__version__",
    "audit",
    "bounds",
    "certify",
    "check_contract",
    "forge",
    "labels_only",
    "least_likely",
    "lipschitz_radius",
    "load",
    "load_data",
    "prepare",
    "scores_only",
    "threat",
    "transfer_matrix",
    "with_stand_ins",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'struthio' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return __all__
