"""Chance drawn from torch, NumPy or Python is seen and repeated; chance of a model's own is seen and said."""

import random

import numpy as np
import pytest
import torch

import struthio as st
from struthio.audit import Store
from struthio.audit.doubts import examine
from struthio.testing import linear_model, small_inputs

MODEL = linear_model(48, classes=4)
X = small_inputs(8, 4)
LABELS = MODEL(X).argmax(1)
OWN = np.random.default_rng(0)
SOURCES = {
    "torch": lambda n: torch.randn(n, 1),
    "numpy": lambda n: torch.from_numpy(np.random.randn(n, 1)),
    "python": lambda n: torch.tensor([[random.gauss(0, 1)] for _ in range(n)]),
    "its own": lambda n: torch.from_numpy(OWN.normal(size=(n, 1))),
}


def noisy(source):
    """Logits off by chance, by far less than they are apart."""
    return lambda x: MODEL(x) * (1 + 0.05 * SOURCES[source](len(x)).to(x))


class Stopped(Exception):
    pass


def audited(model, folder, stop_after):
    def tell(progress):
        if progress.done >= stop_after:
            raise Stopped

    st.audit(
        model, (X, LABELS), "linf:0.02", level="quick", batch_size=4, certify="none", repair=False, name="it",
        folder=folder, tell=tell,
    )  # fmt: skip


def rows(folder):
    with Store.read(folder) as store:
        return [vars(findings) for findings in store.findings("linf:0.02")]


@pytest.mark.parametrize("source", SOURCES)
def test_chance_is_seen_wherever_it_comes_from(source):
    state = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()
    [doubt] = [d for d in examine(noisy(source), X, LABELS, st.Linf(0.02)) if d.name == "random-outputs"]
    assert ("No seed repeats it" in doubt.evidence) == (source == "its own")
    assert state == (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())


def test_what_was_stopped_goes_on_as_if_it_had_not_been(tmp_path):
    model = lambda x: noisy("numpy")(x) + noisy("python")(x)  # noqa: E731
    for folder, stops in (("stopped", (4, 8)), ("whole", (8,))):
        for stop_after in stops:
            with pytest.raises(Stopped):
                audited(model, tmp_path / folder, stop_after)
            random.random(), np.random.rand()
    for one, other in zip(rows(tmp_path / "stopped"), rows(tmp_path / "whole"), strict=True):
        assert all(torch.equal(one[name].nan_to_num(), other[name].nan_to_num()) for name in one)
    with pytest.raises(st.UserError, match="another model"):
        audited(lambda x: -model(x), tmp_path / "stopped", 8)
