"""The public contract suite: what every attack and every threat promises, to be run on your own.

    from struthio.testing import attack_promises, check_attack

    check_attack(MyAttack(steps=20))

    @pytest.mark.parametrize("promise", attack_promises())
    def test_my_attack(promise):
        promise(MyAttack())
"""

from struthio.testing.promises import attack_promises, check_attack
from struthio.testing.require import BrokenPromise

__all__ = ["BrokenPromise", "attack_promises", "check_attack"]
