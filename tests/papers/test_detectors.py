"""Each detector finds the attack that it was made for, and falls to the one that knows it."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks import adaptive
from struthio.audit.judge import majority
from struthio.data.digits import digits
from struthio.defenses.training import Course, train
from struthio.detectors import Guarded
from struthio.detectors.binary import BinaryInput, BinaryLayer
from struthio.detectors.consistency import Consistency
from struthio.detectors.dropout import DropoutUncertainty
from struthio.detectors.gan import Discriminator
from struthio.detectors.kernel_density import KernelDensity
from struthio.detectors.lid import LID
from struthio.detectors.mahalanobis import Mahalanobis
from struthio.detectors.n_plus_one import NPlusOne
from struthio.detectors.pca import PCATail
from struthio.detectors.roc import auc
from struthio.detectors.safety_net import SafetyNet
from struthio.detectors.squeezing import SqueezingGap
from struthio.goals import Evade
from struthio.train.digits import shifted

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def same_draws():
    """Detectors that draw at random see the same numbers whichever tests ran before."""
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def model():
    return st.load("zoo:digits-cnn")


def learning(count=1000):
    return tuple(part[:count] for part in digits("train"))


def apart():
    """Clean rows to set the threshold by."""
    return digits("test")[0][500:]


def rows(model, count=50):
    """The first digits of the test that the model gets right."""
    x, y = (part[:300] for part in digits("test"))
    with torch.no_grad():
        right = model(x).argmax(1) == y
    return x[right][:count], y[right][:count]


def made(attack, model, x, y, eps):
    return attack(model, x, st.Untargeted(y), st.Linf(eps)).x_adv


def area(detector, x, x_adv):
    with torch.no_grad():
        return auc(detector.score(x), detector.score(x_adv))


def below(model, detector, x, y, attack, aim):
    """What an attack on both makes that keeps below the line for a false-positive rate: below a lower line than that of
    the judge, or the next draw of a random detector undoes what was only just won.
    """
    detector.calibrate(apart(), aim)
    twin, fit = adaptive(Guarded(model, detector), attack, samples=1)  # its own passes are the mean over its draws
    return fit(twin, x, Evade(st.Untargeted(y)), st.L2()).x_adv


def past(model, detector, x_adv, y, draws):
    """What gets past both at a false-positive rate of 5 %: bool a row, by most of some draws."""
    detector.calibrate(apart(), 0.05)
    return majority(Guarded(model, detector), x_adv, Evade(st.Untargeted(y)), draws)


def sizes(x, x_adv):
    return (x_adv - x).flatten(1).norm(dim=1)


def unnoticed(model, detector, count=30, attack=None, draws=1, aims=(0.05, 0.5)):
    """Success at a false-positive rate of 5 % of an attack that keeps below the line of the first aim, with the size as
    a multiple of a plain attack's; then AUC, and the same success, of one that keeps below that of the second.
    """
    x, y = rows(model, count)
    attack = attack or st.DDN(steps=100)
    near, deep = (below(model, detector, x, y, attack, aim) for aim in aims)
    won, sunk = (past(model, detector, x_adv, y, draws) for x_adv in (near, deep))
    plain = attack(model, x, st.Untargeted(y), st.L2()).x_adv
    times = float(sizes(x, near)[won].median() / sizes(x, plain).median()) if bool(won.any()) else float("nan")
    found = {
        "AUC naive": area(detector, apart(), plain), "success": float(won.float().mean()), "times": times,
        "AUC joint": area(detector, apart(), deep), "success joint": float(sunk.float().mean()),
    }  # fmt: skip
    print(type(detector).__name__, {name: round(value, 3) for name, value in found.items()})
    return found


def test_n_plus_one_knows_what_it_was_taught(model):
    """Grosse et al., 2017: nearly all of the same attack, less of others; Carlini and Wagner, 2017: none."""
    x, y = learning()
    detector = NPlusOne().fit(model, x, y, made(st.FGSM(), model, x, y, 0.3))
    here, labels = rows(model, 100)

    def caught(attack, eps):
        return float((detector.score(made(attack, model, here, labels, eps)) > 0).float().mean())

    false = float((detector.score(apart()) > 0).float().mean())
    same, other = caught(st.FGSM(), 0.3), caught(st.PGD(steps=20, keep="last"), 0.1)
    goal = Evade(st.Untargeted(labels[:50]))
    result = st.DDN(steps=150)(detector.net, here[:50], goal, st.L2())
    print(f"N+1: same {same:.2f}, FPR {false:.3f}, PGD 0.1 {other:.2f}, adaptive {result.rate:.2f}")
    assert same >= 0.9
    assert false <= 0.02
    assert other <= same - 0.2
    assert result.rate >= 0.95


def test_a_binary_detector_knows_one_radius(model):
    """Gong et al., 2017: over 99 % of the same attack; not of a smaller radius; none of one that knows it."""
    x, y = learning()
    detector = BinaryInput().fit(model, x, y, made(st.FGSM(), model, x, y, 0.3))
    here, labels = rows(model, 100)

    def right(eps):
        x_adv = made(st.FGSM(), model, here, labels, eps)
        return float((detector.score(here) <= 0).float().mean()), float((detector.score(x_adv) > 0).float().mean())

    same, smaller = right(0.3), right(0.1)
    found = unnoticed(model, detector)
    print(f"binary input: clean and adversarial right at radius 0.3 {same}, at 0.1 {smaller}")
    assert sum(same) / 2 >= 0.97
    assert smaller[1] < same[1] - 0.2
    assert found["success"] >= 0.95
    assert found["times"] <= 2


def test_a_binary_detector_on_a_layer(model):
    """Metzen et al., 2017, with the dynamic adversary, and Carlini and Wagner, 2017."""
    x, y = learning()
    detector = BinaryLayer(("features.3",)).fit(model, x, y, made(st.FGSM(), model, x, y, 0.3))
    here, labels = rows(model, 100)
    x_adv = made(st.FGSM(), model, here, labels, 0.3)
    same = float(torch.cat([detector.score(here) <= 0, detector.score(x_adv) > 0]).float().mean())
    found = unnoticed(model, detector)
    print(f"binary layer: same {same:.3f}")
    assert same >= 0.97
    assert found["success"] >= 0.95
    assert found["times"] <= 2


def test_safety_net_sees_what_it_has_not_seen_before(model):
    """Lu et al., 2017; Athalye, Carlini, Wagner, 2018, go through codes like these with a soft stand-in."""
    x, y = learning(600)
    thirds = [slice(0, 200), slice(200, 400), slice(400, 600)]
    attacks = (st.FGSM(), st.BIM(steps=20, level=0.02))
    x_adv = [made(one, model, x[some], y[some], 0.2) for one, some in zip(attacks, thirds, strict=False)]
    x_adv.append(st.DeepFool()(model, x[thirds[2]], st.Untargeted(y[thirds[2]]), st.L2()).x_adv)
    detector = SafetyNet().fit(model, x, y, torch.cat(x_adv))
    here, labels = rows(model, 100)
    seen = area(detector, apart(), made(st.FGSM(), model, here, labels, 0.2))
    unseen = area(detector, apart(), st.FMN(steps=50)(model, here, st.Untargeted(labels), st.L1()).x_adv)
    found = unnoticed(model, detector)
    print(f"SafetyNet: seen {seen:.3f}, unseen {unseen:.3f}")
    assert seen >= 0.9
    assert unseen >= 0.75
    assert found["success"] >= 0.8


class BesideTheTail(nn.Module):
    """A model whose slope has nothing along the tail, so that an attack leaves it as it is."""

    def __init__(self, model, ways):
        super().__init__()
        self.model, self.ways = model, ways

    def forward(self, x):
        tail = (x.flatten(1) @ self.ways @ self.ways.T).reshape(x.shape)
        return self.model(x - tail + tail.detach())


def test_the_tail_of_pca_is_the_border(model):
    """Hendrycks and Gimpel, 2017, near 100 % on MNIST; Carlini and Wagner, 2017, leave the tail alone."""
    x, y = learning(4000)
    detector = PCATail().fit(model, x, y)
    here, labels = rows(model, 100)
    plain = [area(detector, apart(), made(st.FGSM(), model, here, labels, eps)) for eps in (0.1, 0.3)]
    apart_from_tail = BesideTheTail(model, detector.ways)
    here, labels = here[:40], labels[:40]
    result = st.DDN(steps=100)(apart_from_tail, here, st.Untargeted(labels), st.L2())
    bypass = area(detector, here, result.x_adv)
    longer = sizes(here, result.x_adv) / sizes(
        here, st.DDN(steps=100)(model, here, st.Untargeted(labels), st.L2()).x_adv
    )
    found = unnoticed(model, detector)
    noise = torch.rand(len(x), 28, 28, generator=torch.Generator().manual_seed(0))[:, None]
    border = torch.ones(28, 28)
    border[4:-4, 4:-4] = 0
    noisy = PCATail().fit(model, (x + 0.5 * noise * border).clamp(0, 1), y)
    clean = (apart() + 0.5 * noise[:500] * border).clamp(0, 1)
    x_adv = made(st.FGSM(), model, clean[:100], digits("test")[1][500:600], 0.1)
    without = area(noisy, clean, x_adv)
    print(
        f"PCA: FGSM 0.1 and 0.3: {plain}, with noise at the border {without:.3f}, bypass {bypass:.3f}, its success "
        f"{result.rate:.2f} at {float(longer.median()):.2f} times the size"
    )
    assert min(plain) >= 0.99
    assert without < 0.9
    assert bypass <= 0.6
    assert result.rate >= 0.95
    assert float(longer.median()) <= 1.7
    assert found["success"] >= 0.95


class Dropping(nn.Sequential):
    """The digits network with dropout."""

    def __init__(self):
        super().__init__(
            nn.Conv2d(1, 32, 4, 2, 1), nn.ReLU(), nn.Conv2d(32, 64, 4, 2, 1), nn.ReLU(), nn.Flatten(), nn.Dropout(0.25),
            nn.Linear(3136, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10),
        )  # fmt: skip


@pytest.fixture(scope="module")
def dropping():
    """Trained to its end, on digits shifted by a pixel: one that is unsure of clean digits too tells little."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Dropping()
    course = Course(epochs=25)
    train(net, lambda x, y: nn.functional.cross_entropy(net(shifted(x)), y), digits("train"), course)
    return net.eval()


def test_dropout_uncertainty(dropping):
    """Feinman et al., 2017; Carlini and Wagner, 2017, found it the best of ten, and broke it at some twice the size."""
    x, y = learning()
    detector = DropoutUncertainty(passes=30).fit(dropping, x, y)
    here, labels = rows(dropping, 50)
    fgsm = area(detector, apart(), made(st.FGSM(), dropping, here, labels, 0.3))
    detector.passes = 10
    found = unnoticed(dropping, detector, count=72, draws=11, attack=st.DDN(steps=50), aims=(0.2, 0.8))
    print(f"dropout: FGSM {fgsm:.3f}")
    assert fgsm >= 0.85
    assert found["AUC naive"] >= 0.9
    assert found["success"] >= 0.9
    assert found["times"] <= 3
    assert found["AUC joint"] <= 0.6
    assert found["success joint"] >= 0.9


def test_density_and_uncertainty_together(dropping):
    """Feinman et al., 2017: by both at once; Carlini and Wagner, 2017, get past both at once.

    Against one large step both together tell no more than the uncertainty alone, by whatever bandwidth.
    """
    x, y = learning(600)
    x_adv = made(st.FGSM(), dropping, x, y, 0.3)
    detector = KernelDensity(passes=10).fit(dropping, x, y, x_adv)
    here, labels = rows(dropping, 50)
    fgsm = area(detector, apart(), made(st.FGSM(), dropping, here, labels, 0.3))
    found = unnoticed(dropping, detector, count=16, draws=11, attack=st.DDN(steps=50), aims=(0.2, 0.8))
    print(f"density and dropout: FGSM {fgsm:.3f}")
    assert fgsm >= 0.85
    assert found["AUC naive"] >= 0.9
    assert found["AUC joint"] <= 0.6
    assert found["success joint"] >= 0.9


@pytest.mark.xfail(strict=True, reason="AUC past the joint attack .65 on 48 rows, 96 % of which get past; .6 is wanted")
def test_prediction_consistency(model):
    """The idea of a survey, tried: noise tells plain projected gradient, and not one that averages over it."""
    x, y = learning()
    detector = Consistency(passes=10).fit(model, x, y)
    here, labels = rows(model, 50)
    plain = area(detector, apart(), made(st.PGD(steps=20), model, here, labels, 0.2))
    found = unnoticed(model, detector, count=48, draws=11, attack=st.DDN(steps=50), aims=(0.2, 0.8))
    print(f"consistency: PGD {plain:.3f}")
    assert plain >= 0.8
    assert found["AUC joint"] <= 0.6
    assert found["success joint"] >= 0.9


@pytest.mark.parametrize("kind", [LID, Mahalanobis, KernelDensity, SqueezingGap, Discriminator])
def test_the_others_fall_as_well(model, kind):
    """Athalye et al., 2018 (LID); Carlini and Wagner, 2017 (density); He et al., 2017 (squeezing)."""
    x, y = learning(600)
    detector = kind(passes=0) if kind is KernelDensity else kind()
    detector.fit(model, x, y, made(st.PGD(steps=5), model, x, y, 0.2))
    here, labels = rows(model, 50)
    print(kind.__name__, "PGD", area(detector, apart(), made(st.PGD(steps=10), model, here, labels, 0.2)))
    found = unnoticed(model, detector)
    assert found["success"] >= 0.9
    assert found["AUC joint"] <= 0.6
