"""What the papers of the gradient attacks found, found again on two cores. Each test names its paper."""

import csv
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


@pytest.mark.slow
@pytest.mark.xfail(strict=True, reason="missed: on small digits networks momentum transfers no further (+0.0 points)")
def test_momentum_transfers_further():
    """Dong et al., 2018: MI-FGSM transfers better than I-FGSM, an ensemble in logits at least as well as its best."""
    x, y = digits("train")
    x_test, y_test = (part[:400] for part in digits("test"))

    def networks(seed):
        dense = [nn.Flatten(), nn.Linear(784, 200), nn.ReLU(), nn.Linear(200, 100), nn.ReLU(), nn.Linear(100, 10)]
        wide = [nn.Conv2d(1, 16, 5, 2), nn.ReLU(), nn.Conv2d(16, 32, 5, 2), nn.ReLU()]
        small = [nn.Conv2d(1, 8, 3, 2), nn.Tanh(), nn.Conv2d(8, 16, 3, 2), nn.Tanh()]
        shapes = [
            nn.Sequential(*dense),
            nn.Sequential(*wide, nn.Flatten(), nn.Linear(512, 10)),
            nn.Sequential(*small, nn.Flatten(), nn.Linear(576, 64), nn.ReLU(), nn.Linear(64, 10)),
        ]
        return [fitted(shape, x, y, epochs=6, seed=seed) for shape in shapes]

    gains, white, ensembles = [], [], []
    for seed in range(3):
        models = networks(seed)
        threat = st.Linf(0.2)
        for source in models:
            momentum = st.MIFGSM()(source, x_test, st.Untargeted(y_test), threat)
            basic = st.BIM(steps=10, level=0.02)(source, x_test, st.Untargeted(y_test), threat)
            white.append(momentum.rate)
            for other in models:
                if other is not source:
                    gains.append(error(other, momentum.x_adv, y_test) - error(other, basic.x_adv, y_test))
        for held in models:
            sources = [model for model in models if model is not held]
            both = st.MIFGSM()(st.LogitEnsemble(sources), x_test, st.Untargeted(y_test), threat)
            single = [st.MIFGSM()(model, x_test, st.Untargeted(y_test), threat) for model in sources]
            ensembles.append(error(held, both.x_adv, y_test) - max(error(held, one.x_adv, y_test) for one in single))
    print(f"MI over I-FGSM: {sum(gains) / len(gains):+.1%}; white-box {min(white):.1%}; ensembles {ensembles}")
    assert sum(gains) / len(gains) >= 0.05
    assert min(white) >= 0.99
    assert sum(ensembles) / len(ensembles) >= 0
