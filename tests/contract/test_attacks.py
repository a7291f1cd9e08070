"""Every promise, on every attack of the registry: being listed is being tested."""

import pytest

from struthio.attacks.registry import ATTACKS, attack_class
from struthio.testing import attack_promises


@pytest.mark.parametrize("promise", attack_promises(), ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", ATTACKS)
def test_registered(name, promise):
    promise(attack_class(name))
