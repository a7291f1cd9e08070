"""Every promise, on every training recipe of the registry: being listed is being tested."""

import pytest
import torch
import torch.nn.functional as F

from struthio.testing import recipe_promises
from struthio.train.registry import RECIPES, recipe_class
from struthio.train.trades import TRADES

PROMISES = [promise.__name__ for promise in recipe_promises()]


def example(name, stored):
    """A recipe with what it cannot be without, and other values for options that no type explains."""
    if name == "static":
        return recipe_class(name)(stored[0]), {"examples": (stored[1],)}
    if name == "distillation":
        return recipe_class(name)(knowing), {"teacher": (unsure,)}
    if name == "ensemble-at":
        return recipe_class(name)(sources=(knowing,)), {"sources": ((),)}
    if name == "cmt":
        return recipe_class(name)(partners=(1, 2, 3, 4, 0)), {"partners": ((4, 0, 1, 2, 3),), "sources": ((knowing,),)}
    if name in ("ibp", "crown-ibp"):
        return recipe_class(name)(), {"ramp": (0.5,), "warmup": (0.3,)}
    return recipe_class(name)(), {"recipe": (TRADES(),), "norms": ("exact",), "beside": ("fgsm",)}


def knowing(x):
    """A model that knows the labels of the rows that recipes are tried on."""
    return 500 * F.one_hot(torch.arange(len(x)) % 5, 5).to(x) + x.flatten(1)[:, :5]


def unsure(x):
    """One that is less sure of them."""
    return knowing(x) / 2


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("promise", PROMISES)
def test_registered(name, promise, stored):
    recipe, others = example(name, stored)
    {made.__name__: made for made in recipe_promises(others)}[promise](recipe)
