"""The contract suite finds recipes that break a promise, and says which."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from struthio.testing import BrokenPromise, check_recipe, recipe_promises
from struthio.train.pgd_at import PGDAT
from struthio.train.recipe import Recipe

PROMISES = {promise.__name__: promise for promise in recipe_promises()}


@dataclass(frozen=True)
class Honest(Recipe):
    """Cross-entropy on slightly noisy inputs.

    Args:
        noise: its deviation.
    """

    paper: ClassVar[str] = "Somebody, 1999"

    noise: float = 0.01

    def loss(self, model, x, y, moment):
        return F.cross_entropy(model(x + self.noise * moment.generator.normal(x.shape[1:], x.dtype)), y)


class Vector(Honest):
    """One loss a row."""

    def loss(self, model, x, y, moment):
        return F.cross_entropy(model(x), y, reduction="none")


class Idle(Honest):
    """Trains something that its loss does not use."""

    def prepare(self, model):
        model.register_parameter("spare", nn.Parameter(torch.zeros(3)))
        return model


class Cut(Honest):
    """The slope is cut off."""

    def loss(self, model, x, y, moment):
        return super().loss(model, x, y, moment).detach().requires_grad_()


class Global(Honest):
    """Draws from torch's global numbers."""

    def loss(self, model, x, y, moment):
        return F.cross_entropy(model(x + self.noise * torch.randn_like(x)), y)


class Switching(Honest):
    """Searches in evaluation mode and forgets the parts that were in it before."""

    def loss(self, model, x, y, moment):
        model.eval()
        model(x)
        model.train()
        return super().loss(model, x, y, moment)


class Fragile(Honest):
    """Puts the mode back only when all goes well."""

    def loss(self, model, x, y, moment):
        modes = {part: part.training for part in model.modules()}
        model.eval()
        model(x)
        for part, mode in modes.items():
            part.training = mode
        return super().loss(model, x, y, moment)


class Overwriting(Honest):
    """Adds its noise to the batch itself."""

    def loss(self, model, x, y, moment):
        x += self.noise
        return F.cross_entropy(model(x), y)


class Headless(Honest):
    """Gives back something else than the classifier."""

    def finish(self, trained):
        return trained[:2]


class Backwards(Honest):
    """Climbs."""

    def loss(self, model, x, y, moment):
        return -super().loss(model, x, y, moment)


class Lenient(Honest):
    """Takes any labels."""

    def __call__(self, model, x, y, moment=None):
        return self.loss(model, x, torch.zeros(len(x), dtype=torch.int64), moment)


class Anonymous(Honest):
    """Names no paper."""

    paper = "folklore"


@dataclass(frozen=True)
class Ignoring(Honest):
    """An option that does nothing.

    Args:
        patience: is not used.
    """

    patience: int = 3


BAD = {
    Vector: "gives_a_loss_for_all_that_is_trained",
    Idle: "gives_a_loss_for_all_that_is_trained",
    Cut: "gives_a_loss_for_all_that_is_trained",
    Global: "answers_the_same_again",
    Switching: "leaves_no_trace",
    Overwriting: "leaves_no_trace",
    Fragile: "leaves_no_trace_when_the_model_breaks",
    Headless: "prepares_and_finishes",
    Backwards: "learns",
    Lenient: "refuses_wrong_labels",
    Anonymous: "is_documented",
    Ignoring: "changes_with_every_option",
}


def test_an_honest_recipe_passes():
    check_recipe(Honest)
    check_recipe(Honest(0.1))


@pytest.mark.parametrize(("kind", "name"), BAD.items(), ids=lambda value: getattr(value, "__name__", value))
def test_a_bad_recipe_is_told_which_promise_it_breaks(kind, name):
    with pytest.raises(BrokenPromise, match=kind.__name__):
        PROMISES[name](kind)


def test_a_recipe_that_is_not_plain_without_a_radius():
    @dataclass(frozen=True)
    class Loud(PGDAT):
        def on(self, model, x, x_adv, y):
            return 2 * super().on(model, x, x_adv, y)

    with pytest.raises(BrokenPromise, match="plainly"):
        PROMISES["is_plain_at_radius_zero"](Loud)
