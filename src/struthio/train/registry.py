"""Recipes by name. Being listed is being tested, and can be named in a recipe file of `struthio harden`."""

from __future__ import annotations

import dataclasses
from typing import Any

from struthio.listed import check_options, find
from struthio.train.recipe import Recipe

RECIPES: dict[str, str] = {
    "plain": "struthio.train.plain:Plain",
    "fgsm-at": "struthio.train.fgsm_at:FGSMAT",
    "fast-at": "struthio.train.fast:FastAT",
    "mixing": "struthio.train.mixing:Mixing",
    "pgd-at": "struthio.train.pgd_at:PGDAT",
    "free-at": "struthio.train.free:FreeAT",
    "trades": "struthio.train.trades:TRADES",
    "mart": "struthio.train.mart:MART",
    "awp": "struthio.train.awp:AWP",
    "vat": "struthio.train.vat:VAT",
    "static": "struthio.train.static:Static",
    "gaussian": "struthio.train.gaussian:Gaussian",
    "ibp": "struthio.train.certified:IBP",
    "crown-ibp": "struthio.train.certified:CROWNIBP",
    "tempered": "struthio.train.distillation:Tempered",
    "distillation": "struthio.train.distillation:Distillation",
    "ensemble-at": "struthio.train.ensemble:EnsembleAT",
    "advprop": "struthio.train.advprop:AdvProp",
    "inv-fgsm": "struthio.train.inv_fgsm:InvFGSM",
    "gat": "struthio.train.gat:GAT",
    "cmt": "struthio.train.cmt:CMT",
    "spectral": "struthio.train.spectral:Spectral",
    "parseval": "struthio.train.parseval:Parseval",
    "contractive": "struthio.train.contractive:Contractive",
    "gradient-penalty": "struthio.train.gradient_penalty:GradientPenalty",
}


def recipe_class(name: str) -> type[Recipe]:
    """The recipe of this name. Raises UserError with the nearest names where there is none."""
    found: type[Recipe] = find(name, RECIPES, "recipe", "recipes")
    return found


def make(name: str, **options: Any) -> Recipe:
    """A recipe by name with options by name. Raises UserError for an unknown option, listing those that exist."""
    kind = recipe_class(name)
    check_options(name, options, (field.name for field in dataclasses.fields(kind)))
    return kind(**options)
