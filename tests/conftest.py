"""One thread a process, so that tests run side by side are quick; and the same examples on every run."""

import pytest
import torch
from hypothesis import settings

from struthio.testing import small_inputs
from struthio.train.static import store

torch.set_num_threads(1)
settings.register_profile("struthio", deadline=None, derandomize=True, max_examples=60, database=None)
settings.load_profile("struthio")


@pytest.fixture(scope="session")
def stored(tmp_path_factory):
    """Two sets of stored examples that fit what recipes are tried on."""
    paths = [tmp_path_factory.mktemp("stored") / f"{seed}.npz" for seed in (3, 4)]
    for seed, path in enumerate(paths):
        x = small_inputs(6, seed=seed)
        store(path, x, (x.flatten(1).sum(1) * 10).long() % 5)
    return list(map(str, paths))
