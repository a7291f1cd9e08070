"""Half precision: what it rounds away raises no doubt, what the model itself does still raises each."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.audit.doubts import examine
from struthio.audit.doubts.precision import InSingle, beyond_rounding
from struthio.audit.doubts.probe import probe
from struthio.audit.doubts.slopes import slopes
from struthio.audit.repair import adapt
from struthio.rows import RowGenerator
from struthio.testing import small_inputs
from tests.audit import masked

X = small_inputs(16).float() * 0.5 + 0.25
TINY = st.Linf(0.5 / 255)


class Low(nn.Module):
    """A network that computes in half precision and answers in single."""

    def __init__(self, net, dtype=torch.bfloat16):
        super().__init__()
        self.net, self.dtype = net.to(dtype), dtype

    def forward(self, x):
        return self.net(x.to(self.dtype)).float()


class Auto(nn.Module):
    """A network in single precision whose layers compute in bfloat16."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        with torch.autocast("cpu", torch.bfloat16):
            return self.net(x)


class Coarse(nn.Module):
    """To halves, in bfloat16, and with the gradient of the identity; nothing in single precision."""

    def forward(self, x):
        return (x + 64) - 64


def net(*before):
    torch.manual_seed(0)
    return nn.Sequential(*before, nn.Flatten(), nn.Linear(192, 32), nn.Tanh(), nn.Linear(32, 5)).eval()


def asked(model, threat):
    generator = RowGenerator.seeded(0, torch.arange(len(X)))
    return probe(model.eval(), X, model(X).argmax(1), threat, generator)


def names(doubts):
    return {doubt.name for doubt in doubts}


@pytest.mark.parametrize("wrap", [Low, Auto])
def test_rounding_looks_like_a_shattered_gradient_and_is_no_doubt(wrap):
    model = wrap(net())
    assert {"shattered-gradient", "random-direction"} & names(slopes(asked(model, TINY)))
    assert beyond_rounding(slopes, asked(model, TINY)) == ()
    assert examine(model, X, model(X).argmax(1), TINY) == ()


def test_no_doubt_about_a_network_of_the_zoo_in_bfloat16():
    x, y = masked.digits(4)
    assert examine(Low(st.load("zoo:digits-robust")), x, y, st.Linf(0.01)) == ()


@pytest.mark.parametrize("wrap", [Low, Auto])
def test_a_shattered_gradient_is_found_in_bfloat16_too(wrap):
    model = wrap(net(masked.Sawtooth()))
    y, threat = model(X).argmax(1), st.Linf(0.3)
    assert {"shattered-gradient", "gradient-free-part"} <= names(examine(model, X, y, threat))


def test_rounding_that_changes_the_answers_is_what_the_model_does():
    model = Low(net(Coarse()))
    assert "shattered-gradient" in names(examine(model, X, model(X).argmax(1), st.Linf(0.3)))


def test_chance_in_bfloat16_is_seen_and_its_slopes_are_only_averaged():
    model = Low(net(masked.undeclared(st.GaussianNoise(0.3))))
    y = model(X).argmax(1)
    found = examine(model, X, y, TINY)
    assert names(found) == {"random-outputs"}
    assert not any("follow" in line for line in adapt(model, X, y, TINY, found).log)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_program_in_single_precision(dtype):
    """Its parameters stay rounded, and nothing else is: as if they had been read into a network in single."""
    model, rounded = Low(net(), dtype), net().to(dtype).float()
    with InSingle() as mode:
        answers = model(X)
    assert mode.met == {dtype}
    torch.testing.assert_close(answers, rounded(X), rtol=0, atol=0)
    with InSingle() as mode:
        torch.testing.assert_close(rounded(X), answers, rtol=0, atol=0)
    assert not mode.met
    with InSingle() as mode:
        assert Auto(rounded)(X).equal(answers)
    assert mode.met == {torch.bfloat16}
