"""Defences with one fault each, which the contract suite must name."""

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.defenses.base import Defense, in_line
from struthio.testing import BrokenPromise, check_defense, defense_promises
from struthio.testing.defenses import is_documented

PROMISES = {promise.__name__: promise for promise in defense_promises()}


class Flaw(Defense):
    """Half of the input's values away from the middle.

    A. Nonymous, 2026.
    """

    paper = "A. Nonymous, 2026, arXiv 0000.00000"

    def forward(self, x):
        return 0.25 + x / 2


class Silent(Flaw):
    def forward(self, x):
        return x + 0.1 * torch.randn_like(x)


class Boasting(Flaw):
    random = True


class OneForAll(Flaw):
    random = True

    def forward(self, x):
        return x + 0.1 * torch.randn_like(x[:1])


class OverTheBatch(Flaw):
    def forward(self, x):
        return x - x.mean()


class OffAtTraining(Flaw):
    def forward(self, x):
        return x if self.training else x / 2


class NoGradient(Flaw):
    def forward(self, x):
        return (x * 7).round() / 7


class WrongGradient(Flaw):
    def forward(self, x):
        return x.detach() + 3 * (x - x.detach())


class AgainstItself(Flaw):
    def forward(self, x):
        return x / 2

    def stand_in(self, x):
        return -x / 2


class InPlace(Flaw):
    def forward(self, x):
        return x.div_(2)


class ACopy(Flaw):
    @classmethod
    def around(cls, model):
        import copy

        return in_line(copy.deepcopy(model), cls())


class Unexplained(Flaw):
    def __init__(self, strength=1):
        super().__init__()


BAD = {
    Silent: "says_whether_it_is_random",
    Boasting: "says_whether_it_is_random",
    OneForAll: "treats_every_row_alone",
    OverTheBatch: "treats_every_row_alone",
    OffAtTraining: "acts_in_training_and_at_test",
    NoGradient: "has_a_right_slope_or_a_stand_in",
    WrongGradient: "has_a_right_slope_or_a_stand_in",
    AgainstItself: "yields_to_its_adaptive_attack",
    InPlace: "gives_a_row_of_scores_for_each_row",
    ACopy: "leaves_the_model_alone",
    Unexplained: "is_documented",
}


@pytest.mark.parametrize("kind", BAD, ids=lambda kind: kind.__name__)
def test_the_fault_is_named(kind):
    with pytest.raises(BrokenPromise):
        PROMISES[BAD[kind]](kind)


def test_a_module_alone_is_no_defence():
    with pytest.raises(UserError, match=r"lambda net: nn\.Sequential\(ReLU\(\), net\)"):
        check_defense(nn.ReLU())


def test_a_good_one_passes():
    check_defense(Flaw)
    check_defense(lambda net: nn.Sequential(Flaw(), net).eval())
    is_documented(lambda net: net)
