"""Attacks fitted to what a defence declares: nothing changes without a defence, and no defence stands with one."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.audit.doubts import examine
from struthio.audit.repair import adapt
from struthio.data.digits import digits
from struthio.gradients import Averaged
from struthio.models import StandIn
from tests.audit import masked

GRADIENT_FREE = {"no-gradient", "gradient-free-part"}
BROKEN = {  # a defence around the digits network, what must be doubted, and the radius in Linf
    "jpeg": (lambda net: st.Jpeg.around(net, 50), GRADIENT_FREE, 0.3),
    "bit depth": (lambda net: st.BitDepth.around(net, 2), {"zero-gradient", "gradient-free-part"}, 0.3),
    "squeezing": (lambda net: st.FeatureSqueezing.around(net, 2), {"zero-gradient", "gradient-free-part"}, 0.3),
    "thermometer": (st.Thermometer.around, GRADIENT_FREE, 0.3),
    "total variation": (lambda net: st.TotalVariation.around(net, steps=10), {"random-outputs", *GRADIENT_FREE}, 0.3),
    "resize and pad": (st.ResizeAndPad.around, {"random-outputs"}, 0.3),
    "noise": (st.GaussianNoise.around, {"random-outputs"}, 0.3),
    "sap": (lambda net: st.SAP.around(net, form="independent"), {"random-outputs"}, 0.3),
    "dropout": (st.DropoutAtInference.around, {"random-outputs"}, 0.3),
    "rse": (lambda net: st.RSE.around(net, passes=2), {"random-outputs"}, 0.3),
}


def test_a_model_without_defences_is_attacked_as_it_was():
    x, _ = masked.digits()
    attack = st.PGD(steps=3)
    twin, fit = st.adaptive(masked.plain(), attack)
    assert fit is attack
    assert torch.equal(twin(x), masked.plain()(x))


def test_what_is_declared_is_read():
    model = nn.Sequential(st.Jpeg(50), st.GaussianNoise(0.1), nn.Flatten(), nn.Linear(784, 10))
    twin, fit = st.adaptive(model, st.Repeat(st.PGD(loss=st.Margin()), 2), samples=7)
    assert isinstance(twin[0], StandIn)
    assert isinstance(model[0], st.Jpeg)
    assert fit == st.Repeat(st.PGD(loss=st.Margin(), gradient=Averaged(samples=7), keep="best"), 2)
    assert st.adaptive(model[0], st.PGD())[1] == st.PGD()


def test_the_defence_as_the_whole_model():
    twin, _ = st.adaptive(st.BitDepth(2), st.PGD())
    x = torch.rand(2, 5, requires_grad=True)
    twin(x).sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))


def test_winners_fall_more_often_when_losers_are_seen():
    """A network made of k-WTA: its own slope leaves more rows standing than the stand-in it declares."""
    torch.manual_seed(0)
    x, y = digits("train")
    layers = nn.Conv2d(1, 8, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(1568, 64), nn.ReLU(), nn.Linear(64, 10)
    net = nn.Sequential(*layers)
    model = st.KWinners.around(net, 0.2)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for rows in torch.randperm(len(x)).split(50):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()
        optimizer.step()
    model.eval()
    x, y = (part[:64] for part in digits("test"))
    goal, threat = st.Untargeted(y), st.Linf(0.1)
    twin, attack = st.adaptive(model, st.PGD(steps=20, loss=st.Margin()))
    standing = [masked.left(judged, attack(judged, x, goal, threat).x_adv, goal, 1) for judged in (model, twin)]
    assert standing[1] < standing[0] - 0.05, standing


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_forgotten_is_doubted_and_what_is_known_breaks_it(name):
    around, doubts, eps = BROKEN[name]
    model, threat, (x, y) = around(masked.plain()), st.Linf(eps), masked.digits(8)
    assert doubts <= {doubt.name for doubt in examine(model, x, y, threat)}
    assert masked.left(model, x, st.Untargeted(y), 5) > 0.8
    twin, attack = st.adaptive(model, st.PGD(steps=6, loss=st.Margin()), samples=4)
    x_adv = attack(twin, x, st.Untargeted(y), threat).x_adv
    assert masked.left(model, x_adv, st.Untargeted(y), 5) < 0.1


def test_the_audit_reads_the_same_declarations():
    model, threat, (x, y) = masked.behind(st.Jpeg(50), st.GaussianNoise(0.1)), st.Linf(0.3), masked.digits(8)
    adapted = adapt(model, x, y, threat, examine(model, x, y, threat))
    assert "'0' (its own)" in adapted.log[0]
    assert isinstance(adapted.gradient, Averaged)
    x_adv = adapted.fit(st.PGD(steps=5))(adapted.model, x, st.Untargeted(y), threat).x_adv
    assert masked.left(model, x_adv, st.Untargeted(y), 3) < 0.1
