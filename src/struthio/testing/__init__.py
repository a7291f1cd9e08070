"""The public contract suite: what every attack and every threat promises, to be run on your own.

`check_attack(MyAttack(steps=20))` and `check_threat(MyThreat(0.1))` try all promises and raise at the first that is
broken. For pytest there is one function a promise::

    @pytest.mark.parametrize("promise", attack_promises())
    def test_my_attack(promise):
        promise(MyAttack())
"""

from struthio.testing.defenses import check_defense, defense_promises
from struthio.testing.detectors import check_detector, detector_promises
from struthio.testing.models import (
    LinearModel,
    exact_distance,
    linear_model,
    small_inputs,
    small_net,
)
from struthio.testing.promises import attack_promises, check_attack
from struthio.testing.recipes import check_recipe, recipe_promises
from struthio.testing.require import BrokenPromise
from struthio.testing.robust import assert_robust
from struthio.testing.threats import check_threat, threat_promises

__all__ = [
    "BrokenPromise",
    "LinearModel",
    "assert_robust",
    "attack_promises",
    "check_attack",
    "check_defense",
    "check_detector",
    "check_recipe",
    "check_threat",
    "defense_promises",
    "detector_promises",
    "exact_distance",
    "linear_model",
    "recipe_promises",
    "small_inputs",
    "small_net",
    "threat_promises",
]
