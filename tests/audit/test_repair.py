"""Repairs one by one: logits recovered exactly, stand-ins by hand and by declaration, modes, and attacks that fit."""

import json
from dataclasses import asdict

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.audit.doubts import examine
from struthio.audit.repair import Adapted, adapt
from struthio.audit.repair.logits import BeforeSoftmax
from struthio.audit.repair.stand_ins import Bridge
from struthio.gradients import Averaged, Estimated, Smoothed
from struthio.testing import linear_model, small_inputs
from tests.audit import masked

SOFTMAXES = {
    "module": nn.Softmax(1),
    "function": lambda z: F.softmax(z, dim=1),
    "method": lambda z: z.softmax(1),
    "torch": lambda z: torch.softmax(input=z, dim=1),
    "twice": lambda z: F.softmax(z.softmax(1), dim=1),
}


@pytest.mark.parametrize("name", SOFTMAXES)
def test_logits_before_the_softmax(name):
    """To the last bit, where the logarithm of the probabilities would have lost them."""
    x, _ = masked.digits()
    logits = masked.plain()(x) * 50
    assert torch.equal(BeforeSoftmax(lambda x: SOFTMAXES[name](masked.plain()(x) * 50))(x), logits)


def test_logarithms_where_no_softmax_is_found():
    p = torch.tensor([[0.25, 0.75], [0.0, 1.0]])
    torch.testing.assert_close(BeforeSoftmax(lambda x: p)(p)[0], p[0].log())
    assert BeforeSoftmax(lambda x: p)(p).isfinite().all()


def test_a_softmax_within_is_left_alone():
    net = nn.Sequential(nn.Linear(4, 4), nn.Softmax(1), nn.Linear(4, 3))
    x = torch.rand(5, 4)
    assert torch.equal(BeforeSoftmax(net)(x), net(x))


def test_a_sound_model_is_left_alone():
    x, y = masked.digits()
    model = st.load("zoo:digits-robust")
    adapted = adapt(model, x, y, st.Linf(0.3), ())
    assert adapted == Adapted(model, model)
    assert adapted.fit(st.APGDT(steps=7)) == st.APGDT(steps=7)


def test_a_stand_in_by_hand():
    x, y = masked.digits()
    model, threat = masked.behind(*masked.thermometer()), st.Linf(0.3)
    planes = lambda x: (10 * x - torch.arange(10.0).reshape(10, 1, 1)).clamp(0, 1)  # noqa: E731
    adapted = adapt(model, x, y, threat, examine(model, x, y, threat), stand_ins={"0": planes})
    assert "by hand" in adapted.log[0]
    x_adv = st.PGD(steps=5)(adapted.model, x, st.Untargeted(y), threat).x_adv
    assert masked.left(model, x_adv, st.Untargeted(y), 1) <= 0.05


def test_what_a_part_declares_is_read():
    class Levels(st.BitDepth):
        random = True

    x, y = masked.digits(12)
    model, threat = masked.behind(Levels(2)), st.Linf(0.3)
    found = examine(model, x, y, threat)
    adapted = adapt(model, x, y, threat, found)
    assert "'0' (its own)" in adapted.log[0]
    assert isinstance(adapted.gradient, Averaged)
    assert adapted.draws > 1
    x_adv = adapted.fit(st.PGD(steps=5))(adapted.model, x, st.Untargeted(y), threat).x_adv
    assert masked.left(model, x_adv, st.Untargeted(y), 3) <= 0.05


def test_a_function_without_gradient_is_asked_instead():
    scores, x = st.scores_only(linear_model(48, 4)).forward, small_inputs(8, 4)
    y = scores(x).argmax(1)
    found = examine(scores, x, y, st.Linf(0.3))
    assert [doubt.name for doubt in found] == ["no-gradient"]
    adapted = adapt(scores, x, y, st.Linf(0.3), found)
    assert isinstance(adapted.gradient, Estimated)
    assert adapted.queries


def test_where_nothing_helps_queries_are_asked_for():
    x, y = small_inputs(8, 4), torch.full((8,), 3)
    stubborn = lambda x: F.one_hot(torch.full((len(x),), 3), 10).float()  # noqa: E731
    adapted = adapt(stubborn, x, y, st.Linf(0.3), examine(stubborn, x, y, st.Linf(0.3)))
    assert adapted.queries
    assert "queries" in adapted.log[-1]


def test_a_forgotten_training_mode():
    torch.manual_seed(0)
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.3), masked.plain()).train()
    model[2].eval()
    (x, y), threat = masked.digits(12), st.Linf(0.2)
    adapted = adapt(model, x, y, threat, examine(model, x, y, threat))
    assert model.training
    assert not any(part.training for part in adapted.judge.modules())
    assert torch.equal(adapted.judge(x), masked.plain()(model[0].eval()(x)))


def test_dropout_that_is_meant():
    model = nn.Sequential(masked.plain().features, nn.Dropout(0.5), masked.plain().classify).eval()
    model[1].train()
    (x, y), threat = masked.digits(12), st.Linf(0.2)
    adapted = adapt(model, x, y, threat, examine(model, x, y, threat))
    assert not torch.equal(adapted.judge(x), adapted.judge(x))
    assert adapted.draws > 1
    assert adapted.fit(st.PGD(steps=1))(adapted.model, x, st.Untargeted(y), threat).backwards.min() >= 5


def test_a_bridge_leaves_the_answers_as_they_are():
    x, _ = masked.digits()
    model = masked.CutOff(masked.plain())
    bridge = Bridge(model, "net.features.0")
    x = x.requires_grad_()
    assert torch.equal(bridge(x), model(x))
    (grad,) = torch.autograd.grad(bridge(x).sum(), x)
    (expected,) = torch.autograd.grad(masked.plain()(x).sum(), x)
    assert torch.equal(grad, expected)


def test_attacks_within_attacks_are_fitted():
    adapted = Adapted(masked.plain(), masked.plain(), Smoothed(), st.Margin(), draws=11)
    suite = st.Cascade((st.APGD(), st.Repeat(st.PGD(loss=st.DLR()), 2), st.Square()))
    first, second, third = adapted.fit(suite).attacks
    assert first == st.APGD(gradient=Smoothed(), loss=st.Margin(), keep="best")
    assert second.attack == st.PGD(gradient=Smoothed(), loss=st.DLR(), keep="best")
    assert third == st.Square()


def test_doubts_can_be_written_down():
    x, y = masked.digits(8)
    model = nn.Sequential(masked.plain(), masked.Times(100))
    found = adapt(model, x, y, st.Linf(0.3), examine(model, x, y, st.Linf(0.3))).doubts
    assert json.loads(json.dumps([asdict(doubt) for doubt in found]))[0]["name"] == "saturated"
