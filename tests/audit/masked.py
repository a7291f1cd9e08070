"""Defences that hide the gradient and stop nobody: small wrappers around the digits network (Athalye et al., 2018)."""

import functools

import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.audit.judge import majority
from struthio.checks import UserError
from struthio.data.digits import digits as every_digit
from struthio.defenses import Readout


def undeclared(defense):
    """A defence that does not say how it is to be attacked."""
    defense.stand_in, defense.random = None, False
    return defense


class Sawtooth(nn.Module):
    """Steps up that slope down: the gradient points the wrong way everywhere."""

    def forward(self, x):
        level = ((x * 30).round() / 30).detach()
        return level - 4 * (x - level)


class Times(nn.Module):
    """Everything times a number."""

    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def forward(self, x):
        return self.factor * x


class Step(nn.Module):
    """1 above a threshold, 0 below."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def forward(self, x):
        return (x > self.at).to(x)


class CutOff(nn.Module):
    """A network behind a graph that is interrupted, in no module of its own."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x):
        return self.net(x.detach())


class Nearest(nn.Module):
    """The class of the nearest of many known features, as one vote."""

    def __init__(self, known, classes):
        super().__init__()
        self.register_buffer("known", known)
        self.register_buffer("classes", classes)

    def forward(self, features):
        return F.one_hot(self.classes[torch.cdist(features, self.known).argmin(1)], 10).to(features)


@functools.cache
def plain():
    return st.load("zoo:digits-cnn")


@functools.cache
def digits(n=24):
    _, x, y = next(iter(st.load_data("data:digits").batches(n)))
    return x, y


def nearest():
    """The digits network up to its last features, and a vote of the nearest of 1,000 training digits."""
    features = nn.Sequential(plain().features, *list(plain().classify)[:-1])
    x, y = every_digit("train")
    with torch.no_grad():
        known = features(x[:1000])
    return nn.Sequential(features, Nearest(known, y[:1000]))


def behind(*parts):
    return nn.Sequential(*parts, plain())


def thermometer():
    """Ten planes a value that do not declare their stand-in, read back as one."""
    return undeclared(st.Thermometer(10)), Readout(10, "thermometer")


BOARD = {  # what hides the gradient, the radius in Linf, and the doubts that must be raised
    "quantised": (lambda: behind(undeclared(st.BitDepth(2))), 0.3, {"zero-gradient", "gradient-free-part"}),
    "jpeg": (lambda: behind(undeclared(st.Jpeg(50))), 0.3, {"no-gradient", "gradient-free-part"}),
    "thermometer": (lambda: behind(*thermometer()), 0.3, {"no-gradient", "gradient-free-part"}),
    "step": (lambda: behind(Step(0.25)), 0.3, {"no-gradient", "gradient-free-part"}),
    "interrupted": (lambda: CutOff(plain()), 0.3, {"no-gradient", "gradient-free-part"}),
    "sawtooth": (lambda: behind(Sawtooth()), 0.3, {"shattered-gradient", "gradient-free-part"}),
    "noise": (lambda: behind(undeclared(st.GaussianNoise(0.3))), 0.15, {"random-outputs"}),
    "dropout": (lambda: behind(undeclared(st.DropoutAtInference(0.5))), 0.15, {"random-outputs"}),
    "resized": (lambda: behind(undeclared(st.ResizeAndPad(22 / 28, mode="bilinear"))), 0.2, {"random-outputs"}),
    "distilled": (lambda: nn.Sequential(plain(), Times(100)), 0.3, {"saturated"}),
    "sure softmax": (lambda: nn.Sequential(plain(), Times(20), nn.Softmax(1)), 0.3, {"probabilities", "saturated"}),
    "two softmaxes": (lambda: nn.Sequential(plain(), Times(20), nn.Softmax(1), nn.Softmax(1)), 0.3, {"probabilities"}),
    "nearest": (nearest, 0.3, {"probabilities", "saturated", "no-gradient", "gradient-free-part"}),
}


def naive(model, x, y, threat):
    """The share of rows that PGD-20 leaves to a model; all, where it cannot begin."""
    goal = st.Untargeted(y)
    try:
        x_adv = st.PGD(steps=20)(model, x, goal, threat).x_adv
    except UserError:
        return 1.0
    return left(model, x_adv, goal, 21)


def left(model, x_adv, goal, draws):
    """The share of rows that hold, by most of some fresh draws."""
    return 1 - float(majority(model, x_adv, goal, draws, 12345).float().mean())
