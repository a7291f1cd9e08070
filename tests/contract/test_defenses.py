"""Every promise, on every defence of the registry: being listed is being tested."""

from functools import partial

import pytest

from struthio.defenses.registry import DEFENSES, defense_class
from struthio.testing import defense_promises

PROMISES = defense_promises()
SIZED = {  # those with weights are made for pictures of one kind, or for rows of one length
    "denoising-autoencoder": {"channels": 3},
    "hgd": {"channels": 3},
    "reformer": {"channels": 3},
    "defense-gan": {"channels": 3, "side": 8, "width": 8, "steps": 4, "restarts": 2},
    "nearest": {"classes": 5, "features": 5},
    "rbf": {"classes": 5, "features": 5},
    "modef": {"channels": 3},
}
AROUND = {  # those that need more than a model: data, a network, a training
    **{name: partial(defense_class(name).around, **options) for name, options in SIZED.items()},
}


@pytest.mark.parametrize("promise", PROMISES, ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", DEFENSES)
def test_registered(name, promise):
    whole = defense_class(name) if promise.__name__ == "is_documented" else AROUND.get(name, defense_class(name))
    promise(whole)
