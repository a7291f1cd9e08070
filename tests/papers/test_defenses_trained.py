"""Trained defences on digits: what holds against attacks that do not know them, and what is left by those that do."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.via import Via
from struthio.audit.doubts import examine
from struthio.audit.judge import majority
from struthio.audit.repair import adapt
from struthio.data.digits import digits
from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.defense_gan import DefenseGAN
from struthio.defenses.ensembles import Average, Ensemble
from struthio.defenses.hgd import HGD
from struthio.defenses.magnet import Reformer
from struthio.defenses.modef import MODEF
from struthio.defenses.nearest import NearestNeighbours
from struthio.defenses.rbf import RBF
from struthio.defenses.training import Course
from struthio.detectors.any_of import AnyOf
from struthio.detectors.guarded import Guarded
from struthio.detectors.magnet import ReconstructionError
from struthio.gauntlet.manifold import along_the_manifold
from struthio.goals import Evade

pytestmark = pytest.mark.slow
FEW = 24
PGD = st.PGD(steps=20, loss=st.Margin())


@pytest.fixture(scope="module")
def net():
    return st.load("zoo:digits-cnn")


@pytest.fixture(scope="module")
def known():
    return digits("train")


@pytest.fixture(scope="module")
def unseen():
    return digits("test")


@torch.no_grad()
def accuracy(model, x, y):
    return float((model(x).argmax(1) == y).double().mean())


def attacked(model, x, y, eps, attack):
    """What an attack on this model, and no other, makes of the inputs."""
    return attack(model, x, st.Untargeted(y), st.Linf(eps)).x_adv


def left(model, x, y, threat, attack=PGD, draws=1, samples=5):
    """The accuracy that an attack leaves which goes through the defence and knows what it declares."""
    twin, fit = st.adaptive(model, attack, samples)
    goal = st.Untargeted(y)
    return 1 - float(majority(model, fit(twin, x, goal, threat).x_adv, goal, draws).double().mean())


def dense(seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def pooled():
    return nn.Sequential(
        nn.Conv2d(1, 8, 5, 2, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(8, 16, 3, padding=1), nn.ReLU(),
        nn.Flatten(), nn.Linear(784, 10),
    )  # fmt: skip


def test_an_autoencoder_cleans_fgsm_and_falls_to_an_attack_through_it(net, known, unseen):
    """Gu and Rigazio, 2014, arXiv 1412.5068: papers.md 43."""
    (x, y), (x_new, y_new) = known, unseen
    defense = DenoisingAutoencoder().fit(x, attacked(net, x, y, 0.25, st.FGSM()), course=Course(epochs=20))
    model = nn.Sequential(defense, net)
    changed = attacked(net, x_new, y_new, 0.25, st.FGSM())
    assert accuracy(net, changed, y_new) < 0.15
    assert accuracy(model, x_new, y_new) >= 0.95
    assert accuracy(model, changed, y_new) >= 0.90
    assert left(model, x_new[:50], y_new[:50], st.Linf(0.25)) <= 0.10


def test_a_denoiser_guided_by_logits_beats_one_guided_by_pixels(net, known, unseen):
    """Liao et al., 2018, arXiv 1712.02976, and its break, arXiv 1804.03286: papers.md 44."""
    (x, y), (x_new, y_new) = (each[:1000] for each in known), (each[:300] for each in unseen)
    eps = torch.rand(1000, generator=torch.Generator().manual_seed(0)) * 0.3
    halves = (
        attacked(net, x[some], y[some], eps[some], attack)
        for some, attack in zip(torch.arange(1000).split(500), (st.FGSM(), st.BIM(steps=8, keep="last")), strict=True)
    )
    x_adv = torch.cat(list(halves))
    changed = attacked(net, x_new, y_new, 0.2, st.PGD(steps=20, keep="last"))
    course, held, models = Course(epochs=4, batch_size=32, lr=1e-2), {}, {}
    for guide in ("pixel", "logit"):
        models[guide] = nn.Sequential(HGD(widths=(8, 16, 16)).fit(net, x, x_adv, guide=guide, course=course), net)
        held[guide] = accuracy(models[guide], changed, y_new)
    assert held["logit"] >= held["pixel"] + 0.10
    assert accuracy(models["logit"], x_new, y_new) >= accuracy(net, x_new, y_new) - 0.03
    assert left(models["logit"], x_new[:FEW], y_new[:FEW], st.Linf(0.3)) <= 0.10


@pytest.fixture(scope="module")
def magnet(net, known, unseen):
    """A reformer before the network, and a detector around both."""
    x, y = (each[:1500] for each in known)
    course = Course(epochs=6, lr=3e-3)
    model = nn.Sequential(Reformer(structure=(8, "average", 8)).fit(x, course=course), net)
    detector = ReconstructionError(structure=(8, "average", 8), course=course).fit(net, x, y)
    return Guarded(model, detector.calibrate(unseen[0][500:], 0.05))


def test_magnet_sees_and_reforms_what_does_not_know_it(net, magnet, unseen):
    """Meng and Chen, 2017, arXiv 1705.09064: papers.md 43."""
    some, labels = (each[:200] for each in unseen)
    changed = attacked(net, some, labels, 0.1, st.PGD(steps=20, keep="last"))
    with torch.no_grad():
        answers = magnet(changed).argmax(1)
    assert accuracy(magnet, some, labels) >= 0.85
    assert float(((answers == labels) | (answers == 10)).double().mean()) >= accuracy(net, changed, labels) + 0.3


def test_magnet_falls_to_who_attacks_both(magnet, unseen):
    """Its break: Carlini and Wagner, 2017, arXiv 1711.08478, at any size; here within a radius."""
    x, labels = (each[:FEW] for each in unseen)  # the attack was chosen on rows 100 to 171
    attack = st.APGD(steps=100, loss=st.Margin())
    assert attack(magnet, x, Evade(st.Untargeted(labels)), st.Linf(0.25)).rate >= 0.90


def whole_magnet(net, known, rows, held, seed):
    """Reformer and both detectors, from some digits, behind a line that one in twenty of others cross."""
    (x, y), others, course = (each[rows] for each in known), known[0][held], Course(6, lr=3e-3, seed=seed)
    model = nn.Sequential(Reformer(structure=(8, "average", 8)).fit(x, course=course), net)
    parts = ReconstructionError(2.0, (8, "average", 8), course=course), ReconstructionError(1.0, (8,), course=course)
    return Guarded(model, AnyOf(parts).fit(net, x, y, generator=seed).calibrate(others, 0.05)).eval()


@pytest.mark.xfail(strict=True, reason="81 % of 48 digits at Linf 0.3 (92 % of rows 100 to 147); 99 % at any size")
def test_what_is_made_on_a_copy_of_magnet_carries_over(net, known, unseen):
    """Its break as published: the network is known, its autoencoders are not, and others are trained in their place.

    Carlini and Wagner, 2017, arXiv 1711.08478, at any size. The radius was chosen on rows 100 to 147.
    """
    victim = whole_magnet(net, known, slice(0, 1000), slice(3000, 3500), 0)
    copy = whole_magnet(net, known, slice(1500, 2500), slice(3500, 4000), 1)
    x, labels = (each[:48] for each in unseen)
    carried = Via(st.APGD(steps=100, loss=st.Margin(), keep="best"), copy)
    assert carried(victim, x, Evade(st.Untargeted(labels)), st.Linf(0.3)).rate >= 0.90


TRANSFER = (st.FGSM(), st.BIM(steps=10), st.MIFGSM(), st.PGD(steps=20))


@pytest.fixture(scope="module")
def modef(net, known):
    """Three denoisers, and the protected model with two verifiers of other builds."""
    model = MODEF(net, [DenoisingAutoencoder() for _ in range(3)], [dense(), pooled()], quorum=0.7)
    return model.fit(*(each[:1500] for each in known), noises=(0.1, 0.3, 0.5), course=Course(epochs=8, lr=2e-3))


def test_denoise_and_verify_holds_against_transfer(modef, net, unseen):
    """Chow et al., 2019, arXiv 1908.07667: papers.md 45; its four transfer attacks see the protected model alone."""
    x, y = (each[:200] for each in unseen)
    believed = MODEF(net, list(modef.denoisers), list(modef.judges)[1:]).eval()
    assert accuracy(believed, x, y) >= 0.90
    assert accuracy(modef, x, y) >= 0.85
    for attack in TRANSFER:
        with torch.no_grad():
            answers = modef(attacked(net, x, y, 0.15, attack)).argmax(1)
        assert float(((answers == y) | (answers == 10)).double().mean()) >= 0.90, attack


def test_denoise_and_verify_falls_as_a_whole(modef, net, unseen):
    """Attacks on the average of all paths, with no vote between: it goes on changing where votes stand still."""
    x, y = (each[72:120] for each in unseen)  # the attacks were chosen on the 48 before these
    believed, average = (MODEF(net, list(modef.denoisers), list(modef.judges)[1:]).eval() for _ in range(2))
    average.combine = Average()
    for attack in (st.PGD(steps=20, keep="best"), st.APGD(steps=100, loss=st.Margin(), keep="best")):
        with torch.no_grad():
            stands = believed(attacked(average, x, y, 0.25, attack)).argmax(1) == y
        x, y = x[stands], y[stands]
    assert len(x) <= 0.20 * 48


@pytest.mark.xfail(strict=True, reason="right under PGD at 0.15: 93.5 %, the best of nine single paths 97.0 %")
def test_all_paths_together_are_no_worse_than_the_best(modef, net, unseen):
    """The direction of papers.md 45, with the best path chosen anew for each attack."""
    x, y = (each[:200] for each in unseen)
    believed = MODEF(net, list(modef.denoisers), list(modef.judges)[1:]).eval()
    for attack in TRANSFER:
        changed = attacked(net, x, y, 0.15, attack)
        with torch.no_grad():
            paths = modef.judgements(changed).argmax(3)
        best = float((paths == y[:, None, None]).double().mean(0).max())
        assert accuracy(believed, changed, y) >= best, attack


def test_nearest_neighbours_have_no_slope_and_fall_to_the_soft_ones(known, unseen):
    """Papernot et al., 2016, arXiv 1611.03814: papers.md 36."""
    (x, y), (some, labels) = (each[:1000] for each in known), (each[:FEW] for each in unseen)
    model = nn.Sequential(NearestNeighbours().fit(x, y)).eval()
    assert accuracy(model, *unseen) >= 0.85
    with pytest.raises(st.UserError, match="gradient"):
        PGD(model, some, st.Untargeted(labels), st.Linf(0.3))
    assert "no-gradient" in {doubt.name for doubt in examine(model, some, labels, st.Linf(0.3))}
    assert left(model, some, labels, st.Linf(0.3), st.PGD(steps=100, loss=st.Margin())) <= 0.10


def test_a_vote_has_no_slope_and_the_audit_repairs_it(known, unseen):
    """He et al., 2017, arXiv 1706.04701: an ensemble of weak networks is weak."""
    (x, y), (some, labels) = (each[:1500] for each in known), (each[:FEW] for each in unseen)
    model = Ensemble([dense(), dense(1), pooled()]).fit(x, y, course=Course(epochs=6))
    assert accuracy(model, *unseen) >= 0.85
    threat = st.Linf(0.25)
    doubts = examine(model, some, labels, threat)
    assert "no-gradient" in {doubt.name for doubt in doubts}
    repaired = adapt(model, some, labels, threat, doubts)
    x_adv = repaired.fit(PGD)(repaired.model, some, st.Untargeted(labels), threat).x_adv
    assert accuracy(model, x_adv, labels) <= 0.10


def test_radial_units_are_less_sure_where_they_are_fooled(known, unseen):
    """Goodfellow et al., 2015, arXiv 1412.6572, section 8: papers.md 6; its 1.2 % did not come out again elsewhere."""
    (x, y), (x_new, y_new) = known, unseen
    model = RBF().fit(x, y, course=Course(epochs=10, lr=1e-2))
    changed = attacked(model, x_new, y_new, 0.25, st.FGSM())
    with torch.no_grad():
        fooled = model(changed).argmax(1) != y_new
        sure = float(model.confidence(changed[fooled]).mean()), float(model.confidence(x_new).mean())
    assert float(fooled.double().mean()) >= 0.5
    assert sure[0] < sure[1] / 2


@pytest.fixture(scope="module")
def gan(net, known):
    """The network behind a GAN of few steps and starts."""
    return nn.Sequential(DefenseGAN(steps=30, restarts=4).fit(known[0], course=Course(epochs=60, lr=5e-4)), net)


def test_a_gan_takes_away_what_it_cannot_make(gan, net, unseen):
    """Samangouei et al., 2018, arXiv 1805.06605."""
    x, y = (each[:FEW] for each in unseen)
    changed = attacked(net, x, y, 0.2, st.PGD(steps=20))
    assert accuracy(net, changed, y) <= 0.10
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert accuracy(gan, x, y) >= 0.80
        assert accuracy(gan, changed, y) >= 0.50


@pytest.mark.xfail(strict=True, reason="66.7 % of 24 digits are left at an L2 of 2, 91.7 % clean")
def test_a_gan_partly_falls_to_the_identity(gan, unseen):
    """Athalye et al., 2018, arXiv 1802.00420, left 55 % at 0.005 a pixel, a mean square: papers.md 60."""
    x, y = (each[:FEW] for each in unseen)
    attack = st.PGD(steps=60, loss=st.Margin())
    assert left(gan, x, y, st.L2(2.0), attack, draws=3, samples=2) <= 0.60


def test_a_gan_falls_to_a_search_among_what_it_makes(gan, unseen):
    """Their other way, which a perfect descent could not stop: no more is left than by their identity."""
    x, y = (each[:FEW] for each in unseen)  # the search was chosen on rows 100 to 123
    x_adv = along_the_manifold(gan[0], gan[1], x, y, 2.0)
    fell = majority(gan, x_adv, st.Untargeted(y), 3)
    print(f"Defense-GAN: {1 - float(fell.double().mean()):.3f} of {FEW} left at L2 2")
    assert float(fell.double().mean()) >= 0.45
