"""Numbers of universal changes and of AdvGAN, on inputs that fitting did not see. Each test names its source."""

import os
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import struthio as st
from struthio.data.digits import digits

pytestmark = pytest.mark.slow
LINF = st.Linf(0.3)


def mixed(x):
    """The rows in another order every time they are read."""
    generator = torch.Generator().manual_seed(0)

    def batches(size):
        for ids in torch.randperm(len(x), generator=generator).split(size):
            yield ids, x[ids], None

    return batches


def noises(threat, x, model, batches):
    """How many rows noise fools: spread evenly over the ball, and of the largest size in every value."""
    even = threat.sample(x[:1], st.RowGenerator.seeded(0, torch.arange(1)))
    corner = threat.eps * torch.randn(x[:1].shape, generator=torch.Generator().manual_seed(0)).sign()
    return [st.Universal(z[0], threat).fooling(model, batches).rate for z in (even, corner)]


@pytest.fixture(scope="module")
def plain():
    return st.load("zoo:digits-cnn")


@pytest.fixture(scope="module")
def held():
    return mixed(digits("test")[0])


@pytest.fixture(scope="module")
def dense():
    """Another network for digits, with nothing in common but the data."""
    x, y = digits("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(nn.Flatten(), nn.Linear(784, 256), nn.ReLU(), nn.Linear(256, 10))
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        for ids in (ids for _ in range(8) for ids in torch.randperm(len(x)).split(50)):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[ids]), y[ids]).backward()
            optimizer.step()
    return model.eval()


FORMS = {"deepfool": st.UniversalDeepFool(passes=3), "gradient": st.UniversalGradient()}


@pytest.mark.parametrize("form", FORMS)
def test_one_change_fools_digits_never_seen(form, plain, dense, held):
    """Moosavi-Dezfooli et al., 2017, scaled down: at least 40 % within 0.3 and more than 20 % of another network; noise
    under 10 %, though 0.3 up or down at random in every value fools 27 to 35 % of this one.
    """
    found = FORMS[form].fit(plain, mixed(digits("train")[0][:1000]), LINF)
    rate = found.fooling(plain, held).rate
    print(form, found.rates, "held", rate, "dense", found.fooling(dense, held).rate, "seconds", found.seconds)
    assert rate >= 0.4
    even, corner = noises(LINF, digits("test")[0], plain, held)
    assert even < 0.1
    assert corner < rate - 0.15
    assert found.fooling(dense, held).rate > 0.2


def test_more_pictures_fool_more(plain, held):
    """Moosavi-Dezfooli et al., 2017, figure 6: the fooling rate grows with the pictures that are fitted to."""
    x = digits("train")[0]
    rates = [
        st.UniversalGradient(passes=passes).fit(plain, mixed(x[:rows]), st.Linf(0.2)).fooling(plain, held).rate
        for rows, passes in ((1, 60), (30, 30), (1000, 5))
    ]
    print(rates)
    assert rates[0] < rates[1] < rates[2]


def resnet():
    if "STRUTHIO_DATA" not in os.environ:
        pytest.skip("STRUTHIO_DATA names no folder with CIFAR-10 and ResNet-20")
    from bench.nets import cifar

    return cifar(800)


@pytest.mark.parametrize("form", FORMS)
def test_one_change_fools_cifar(form):
    """Moosavi-Dezfooli et al., 2017, scaled down: at 10/255 on CIFAR-10 at least half, and a target for all alike."""
    case, ball = resnet(), st.Linf(10 / 255)
    attack = {"deepfool": st.UniversalDeepFool(passes=1), "gradient": st.UniversalGradient(passes=5)}[form]
    fit, kept = mixed(case.x[:400]), mixed(case.x[400:])
    found = attack.fit(case.model, fit, ball)
    rates = [found.fooling(case.model, kept).rate, *noises(ball, case.x, case.model, kept)]
    print(form, rates, found.seconds)
    assert rates[0] >= 0.5
    assert max(rates[1:]) < rates[0] - 0.15
    if form == "gradient":
        assert attack.fit(case.model, fit, ball, target=3).fooling(case.model, kept).rate >= 0.5


def test_noise_fools_few_on_cifar():
    """Moosavi-Dezfooli et al., 2017: noise of the same size fools under 10 %, on pictures that were never compressed.

    Of JPEG pictures, trained on or not, it fools 20 %: they lie near the walls of a network that never saw such. 10/255
    up or down in every value fools 24 % of the others and 40 % of these.
    """
    case = resnet()
    with np.load(Path(os.environ["STRUTHIO_DATA"]) / "cifar10/lossless_120.npz") as file:
        pictures = np.concatenate([file["x_train"], file["x_test"]])
    x = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
    even, corner = noises(st.Linf(10 / 255), x, case.model, mixed(x))
    compressed, _ = noises(st.Linf(10 / 255), case.x, case.model, mixed(case.x[400:]))
    print(even, corner, compressed)
    assert even < 0.1
    assert compressed > 2 * even


def generated(model):
    x, y = digits("test")
    found = st.AdvGAN().fit(model, mixed(digits("train")[0]), LINF, progress=print)
    return model, found(model, x, st.Untargeted(y), LINF), partial(st.PGD(steps=20), model, x, st.Untargeted(y), LINF)


def test_a_generator_wins_digits_never_seen(plain):
    """Xiao et al., 2018, scaled down: 97 to 98 % in the paper on its own networks, at least 90 % here."""
    _, result, _ = generated(plain)
    print(result.success.float().mean())
    assert result.success.float().mean() >= 0.9


def test_a_generator_leaves_adversarial_training_standing():
    """MNIST challenge, 2018: AdvGAN left 92.8 %; at least 88 % here, and PGD finds more."""
    _, result, pgd = generated(st.load("zoo:digits-robust"))
    print(result.success.float().mean(), pgd().success.float().mean())
    assert result.success.float().mean() <= 0.12
    assert pgd().success.float().mean() > result.success.float().mean()
