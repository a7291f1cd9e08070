"""What the papers of the gradient attacks found, found again on two cores. Each test names its paper."""

import csv
import functools
import os
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import nn

import struthio as st
from struthio.data.digits import digits
from struthio.data.pictures import on_levels

SHARED = os.environ.get("STRUTHIO_DATA")
needs_pictures = pytest.mark.skipif(SHARED is None, reason="STRUTHIO_DATA names no folder with ImageNet pictures")


def fitted(model, x, y, epochs, lr=1e-3, seed=0):
    """A model trained plainly, in evaluation mode."""
    torch.manual_seed(seed)
    for part in model.modules():
        if hasattr(part, "reset_parameters"):
            part.reset_parameters()
    optimizer = torch.optim.Adam(model.parameters(), lr)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(50):
            optimizer.zero_grad()
            F.cross_entropy(model(x[rows]), y[rows]).backward()
            optimizer.step()
    return model.eval()


def error(model, x, y):
    with torch.no_grad():
        return float((model(x).argmax(1) != y).float().mean())


def left(attack, model, x, y, threat):
    """Accuracy under attack."""
    with torch.no_grad():
        right = model(x).argmax(1) == y
    return float((right & ~attack(model, x, st.Untargeted(y), threat).success).float().mean())


def digits_cnn():
    return st.load("zoo:digits-cnn")


def test_fgsm_breaks_softmax_regression():
    """Goodfellow et al., 2015: a softmax classifier errs on 99.9 % of MNIST at eps .25; here at least 98.5 %."""
    x, y = digits("train")
    model = fitted(nn.Sequential(nn.Flatten(), nn.Linear(784, 10)), x, y, epochs=20)
    x, y = digits("test")
    assert error(model, x, y) < 0.15
    assert 1 - left(st.FGSM(), model, x, y, st.Linf(0.25)) >= 0.985


def test_fgsm_breaks_threes_and_sevens():
    """Goodfellow et al., 2015: logistic regression, 3 against 7, 1.6 % error clean and 99 % at eps .25."""
    x, y = digits("train")
    rows = (y == 3) | (y == 7)
    model = fitted(nn.Sequential(nn.Flatten(), nn.Linear(784, 2)), x[rows], (y[rows] == 7).long(), epochs=30)
    x, y = digits("test")
    rows = (y == 3) | (y == 7)
    x, y = x[rows], (y[rows] == 7).long()
    assert error(model, x, y) <= 0.035
    assert 1 - left(st.FGSM(), model, x, y, st.Linf(0.25)) >= 0.97


def test_one_step_raises_the_target_but_seldom_reaches_it():
    """Kurakin et al., 2017: one targeted step raises p(target), yet succeeds far less than an untargeted one."""
    model = digits_cnn()
    x, y = (part[:300] for part in digits("test"))
    threat = st.Linf(0.25)
    target = (y + 1 + torch.arange(len(y)) % 9) % 10
    random = st.FGSM()(model, x, st.Targeted(target, y), threat)
    with torch.no_grad():
        before, after = (model(part).softmax(1).gather(1, target[:, None]) for part in (x, random.x_adv))
    least = st.FGSM()(model, x, st.least_likely(model, x), threat)
    untargeted = st.FGSM()(model, x, st.Untargeted(y), threat)
    assert float((after > before).float().mean()) > 0.95
    assert least.rate <= random.rate < untargeted.rate - 0.2


def test_iterations_leave_nothing_of_a_plain_network():
    """Kurakin et al., 2016, and Madry et al., 2018: at Linf .3 a plain digits network keeps at most 1 %."""
    model = digits_cnn()
    x, y = (part[:300] for part in digits("test"))
    assert left(st.BIM(steps=40, level=0.01), model, x, y, st.Linf(0.3)) <= 0.01
    assert left(st.PGD(), model, x, y, st.Linf(0.3)) <= 0.01


@pytest.mark.slow
def test_more_steps_and_restarts_find_more():
    """Madry et al., 2018: accuracy falls from FGSM to PGD-40, PGD-100 and PGD-100 with restarts, never rises."""
    model = st.load("zoo:digits-robust")
    x, y = (part[:200] for part in digits("test"))
    order = [st.FGSM(), st.PGD(step=1 / 30), st.PGD(steps=100, step=1 / 30), st.PGD(steps=100, step=1 / 30, restarts=4)]
    accuracy = [left(attack, model, x, y, st.Linf(0.3)) for attack in order]
    assert accuracy[0] - 0.01 >= accuracy[1] >= accuracy[2] - 0.01 >= accuracy[3] - 0.02
    assert accuracy[-1] >= 0.5


@pytest.mark.slow
@needs_pictures
def test_least_likely_is_the_strongest_way_to_destroy_photographs():
    """Kurakin et al., 2016: on ImageNet accuracy falls from fast to basic to iterative least-likely."""
    folder = Path(SHARED) / "imagenet"
    label = {row["file"]: int(row["label"]) for row in csv.DictReader((folder / "index.csv").open())}
    data = st.load_data(str(folder / "images"), size=(3, 224, 224))
    ids = torch.arange(20)
    x, y = on_levels(data.x[ids]), torch.tensor([label[data.names[i]] for i in ids])
    model = st.load("zoo:efficientnet-lite0")
    goal = st.least_likely(model, x)
    for eps in (4 / 255, 8 / 255, 16 / 255):
        fast, basic = (left(attack, model, x, y, st.Linf(eps)) for attack in (st.FGSM(), st.BIM()))
        found = st.BIM()(model, x, goal, st.Linf(eps)).x_adv
        assert 1 - error(model, found, y) <= basic + 1.01 / len(y)  # one picture of twenty
        assert basic <= fast


def block(before, after, stride=1):
    """A convolution with batch-norm."""
    return nn.Sequential(nn.Conv2d(before, after, 3, stride, 1, bias=False), nn.BatchNorm2d(after), nn.ReLU())


class Residual(nn.Module):
    def __init__(self, before, after, stride=1):
        super().__init__()
        self.way = nn.Sequential(
            block(before, after, stride), nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)
        )
        same = before == after and stride == 1
        self.short = nn.Identity() if same else nn.Conv2d(before, after, 1, stride, bias=False)

    def forward(self, x):
        return F.relu(self.way(x) + self.short(x))


def deep(x, y, seed):
    """Three networks with batch-norm that are built differently, as chosen on training digits: residual, straight,
    and with maxima and a dense end.
    """

    def ends(width):
        return [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 10)]

    stages = [(12, 12, 1), (12, 24, 2), (24, 24, 1), (24, 48, 2), (48, 48, 1)]
    residual = [block(1, 12, 2), *(Residual(*stage) for stage in stages), *ends(48)]
    straight = [
        block(1, 16, 2),
        block(16, 16),
        block(16, 16),
        block(16, 32, 2),
        block(32, 32),
        block(32, 32),
        *ends(32),
    ]
    maxima = [block(1, 8), block(8, 16), nn.MaxPool2d(2), block(16, 24), block(24, 24), nn.MaxPool2d(2), block(24, 48)]
    maxima += [nn.Flatten(), nn.Linear(48 * 49, 10)]
    shapes = residual, straight, maxima
    return [fitted(nn.Sequential(*parts), x, y, epochs=3, lr=2e-3, seed=seed) for parts in shapes]


@functools.cache
def momentum():
    """How much further MI-FGSM gets than I-FGSM, how often it wins the network it is made on, and how much further an
    ensemble of two gets than the better of them; of each pair or network, with three seeds.
    """
    x, y = digits("train")
    x_test, y_test = (part[:150] for part in digits("test"))
    goal, threat = st.Untargeted(y_test), st.Linf(0.2)
    gains, white, ensembles = [], [], []
    for seed in range(3):
        models = deep(x, y, seed)
        found = [st.MIFGSM()(source, x_test, goal, threat) for source in models]
        basic = [st.BIM(steps=10, level=0.02)(source, x_test, goal, threat).x_adv for source in models]
        white += [result.rate for result in found]
        for held in models:
            others = [place for place, model in enumerate(models) if model is not held]
            alone = [error(held, found[place].x_adv, y_test) for place in others]
            gains += [one - error(held, basic[place], y_test) for one, place in zip(alone, others, strict=True)]
            both = st.MIFGSM()(st.LogitEnsemble([models[place] for place in others]), x_test, goal, threat)
            ensembles.append(error(held, both.x_adv, y_test) - max(alone))
    print(f"MI over I-FGSM: {sum(gains) / len(gains):+.1%}; white-box {white}; ensembles {ensembles}")
    return gains, white, ensembles


@pytest.mark.slow
def test_momentum_transfers_further():
    """Dong et al., 2018: MI-FGSM transfers better than I-FGSM, an ensemble in logits at least as well as its best.

    Of networks with batch-norm. On shallow ones without it I-FGSM passes on as much as FGSM, and there is nothing
    for momentum to mend.
    """
    gains, _, ensembles = momentum()
    assert sum(gains) / len(gains) >= 0.05
    assert sum(ensembles) / len(ensembles) >= 0


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="missed: 98.0 %; 94.7 of networks with maxima, 99.7 of others")
def test_momentum_wins_the_network_it_is_made_on():
    """Dong et al., 2018: MI-FGSM wins 100 % in white-box; here 99 % are wanted."""
    _, white, _ = momentum()
    assert sum(white) / len(white) >= 0.99
