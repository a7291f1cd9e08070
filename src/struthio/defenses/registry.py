"""Defences by name. Being listed is being tested: `struthio.testing.check_defense` runs every promise on every line."""

from __future__ import annotations

import inspect
from typing import Any

from torch import nn

from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.listed import check_options, find

DEFENSES: dict[str, str] = {
    "jpeg": "struthio.defenses.jpeg:Jpeg",
    "bit-depth": "struthio.defenses.bit_depth:BitDepth",
    "median": "struthio.defenses.median:MedianFilter",
    "non-local-means": "struthio.defenses.non_local_means:NonLocalMeans",
    "total-variation": "struthio.defenses.total_variation:TotalVariation",
    "squeezing": "struthio.defenses.squeezing:FeatureSqueezing",
    "thermometer": "struthio.defenses.thermometer:Thermometer",
    "resize-pad": "struthio.defenses.resize_pad:ResizeAndPad",
    "noise": "struthio.defenses.noise:GaussianNoise",
    "rse": "struthio.defenses.rse:RSE",
    "dropout": "struthio.defenses.dropout:DropoutAtInference",
    "sap": "struthio.defenses.sap:SAP",
    "k-wta": "struthio.defenses.kwta:KWinners",
    "denoising-autoencoder": "struthio.defenses.autoencoder:DenoisingAutoencoder",
    "hgd": "struthio.defenses.hgd:HGD",
    "reformer": "struthio.defenses.magnet:Reformer",
    "defense-gan": "struthio.defenses.defense_gan:DefenseGAN",
    "nearest": "struthio.defenses.nearest:NearestNeighbours",
    "rbf": "struthio.defenses.rbf:RBF",
    "ensemble": "struthio.defenses.ensembles:Ensemble",
    "modef": "struthio.defenses.modef:MODEF",
    "smoothing": "struthio.certify.smoothing:SmoothedModel",
}

LEARNT = {  # how those are made that need data or networks: x, y and what an attack made of them, x_adv
    "denoising-autoencoder": "nn.Sequential(DenoisingAutoencoder().fit(x, x_adv), net)",
    "hgd": "nn.Sequential(HGD().fit(net, x, x_adv), net)",
    "reformer": "nn.Sequential(Reformer().fit(x), net)",
    "defense-gan": "nn.Sequential(DefenseGAN().fit(x), net)",
    "nearest": "NearestNeighbours().fit(x, y)",
    "rbf": "RBF().fit(x, y)",
    "ensemble": "Ensemble([net, other])",
    "modef": "MODEF(net).fit(x, y, x_adv)",
}


def defense_class(name: str) -> type[Defense]:
    """The defence of this name. Raises UserError with the nearest names where there is none."""
    found: type[Defense] = find(name, DEFENSES, "defence", "defences")
    return found


def options_of(kind: type[Defense]) -> dict[str, inspect.Parameter]:
    """The options of a defence by name, without the model that it is put around."""
    options = inspect.signature(kind).parameters.values()
    unnamed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return {option.name: option for option in options if option.name != "model" and option.kind not in unnamed}


def by_name(kind: type[Defense]) -> bool:
    """Whether a name and plain options make it: not so where it needs data, networks or a training."""
    complete = all(option.default is not option.empty for option in options_of(kind).values())
    return complete and not hasattr(kind, "fit")


def defended(model: nn.Module, name: str, **options: Any) -> nn.Module:
    """The model with a defence around it, by name, with options by name; parameters are shared.

    Raises:
        UserError: for an unknown name or option, listing those that exist, and for a defence that needs more.
    """
    kind = defense_class(name)
    check_options(name, options, options_of(kind))
    if not by_name(kind):
        raise UserError(
            f"{name} needs more than a name. Let a function in a file of yours give the defended model, "
            f"{LEARNT[name.lower()]}, and name that in the model's place: FILE.py:FUNCTION. The class is "
            f"{kind.__module__}.{kind.__name__}."
        )
    return kind.around(model, **options)
