"""What recipes beside adversarial training promise and keep, on 4,000 digits. Each test names its source."""

import functools

import pytest
import torch
from torch import nn

import struthio as st
from struthio.data.digits import digits
from struthio.detectors import Guarded
from struthio.goals import Evade
from struthio.rows import RowGenerator
from struthio.train.certified import CROWNIBP, IBP
from struthio.train.cmt import CMT, Pairs, least_confused
from struthio.train.contractive import Contractive
from struthio.train.distillation import Distillation, Tempered
from struthio.train.ensemble import EnsembleAT
from struthio.train.fgsm_at import FGSMAT
from struthio.train.gat import GAT
from struthio.train.gradient_penalty import GradientPenalty
from struthio.train.inv_fgsm import InvFGSM
from struthio.train.parseval import Parseval
from struthio.train.plain import Plain
from struthio.train.recipe import Moment
from struthio.train.spectral import Spectral, exact_norm
from struthio.zoo.digits import DigitsCNN

pytestmark = pytest.mark.slow
SEEDS = pytest.mark.parametrize("seed", [0, 1, 2])


def short(reason):
    """A target that is missed, with the numbers."""
    return pytest.mark.xfail(strict=True, reason=reason)


@functools.cache
def data(split="test"):
    x, y = digits(split)
    return (x, y) if split == "train" else (x[:500], y[:500])


def small():
    return nn.Sequential(
        nn.Conv2d(1, 16, 4, 2, 1), nn.ReLU(), nn.Conv2d(16, 32, 4, 2, 1), nn.ReLU(), nn.Flatten(),
        nn.Linear(1568, 100), nn.ReLU(), nn.Linear(100, 10),
    )  # fmt: skip


def dense():
    hidden = (nn.Linear(784, 100), nn.ReLU(), nn.Linear(100, 100), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(100, 10))


def trained(recipe, make=small, epochs=8, seed=0, lr=1e-3, batch=100, drop=(0.75,)):
    x, y = data("train")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = recipe.prepare(make()).train()
        optimizer = torch.optim.Adam(model.parameters(), lr)
        steps, step, kept = epochs * len(x) // batch, 0, {}
        for _ in range(epochs):
            for rows in torch.randperm(len(x)).split(batch):
                moment = Moment(RowGenerator.seeded(step, rows), step / steps, step, kept)
                optimizer.param_groups[0]["lr"] = lr * 0.1 ** sum(moment.done >= at for at in drop)
                optimizer.zero_grad()
                recipe(model, x[rows], y[rows], moment).backward()
                optimizer.step()
                recipe.after_step(model, moment)
                step += 1
    return recipe.finish(model).eval()


@functools.cache
def plain(make=small, seed=0, **how):
    return trained(Plain(), make, seed=seed, **how)


def accuracy(model, x=None):
    clean, y = data()
    with torch.no_grad():
        return float((model(clean if x is None else x).argmax(1) == y).float().mean())


def clean(model):
    """Accuracy on all 1,000 test digits, for differences of a point."""
    x, y = digits("test")
    with torch.no_grad():
        return float((model(x).argmax(1) == y).float().mean())


def left(model, eps, attack, crafted_on=None):
    """Accuracy under an attack, crafted on this model or on another."""
    x, y = data()
    return accuracy(model, attack(crafted_on or model, x, st.Untargeted(y), st.Linf(eps)).x_adv)


def test_interval_bounds_prove_most_of_what_pgd_leaves():
    """Gowal et al., 2018: a network trained on its bounds can be proved; a plain one cannot, at the same radius."""
    x, y = data()
    model = trained(IBP(st.Linf(0.15)), epochs=20, drop=(0.7, 0.9))
    proved, attacked = st.certify(model, x, y, st.Linf(0.1)).rate, left(model, 0.1, st.PGD(40))
    print(f"clean {accuracy(model):.3f}, PGD-40 {attacked:.3f}, proved {proved:.3f}")
    assert proved >= 0.70
    assert attacked - proved <= 0.05
    assert st.certify(plain(), x[:100], y[:100], st.Linf(0.1)).rate < 0.05


@pytest.mark.parametrize("kind", [IBP, CROWNIBP])
def test_bounds_prove_half_of_the_digits_at_a_large_radius(kind):
    """Gowal et al., 2018: 91.95 % of MNIST at 0.3; Zhang et al., 2020: 92.98 %; with 60,000 digits and 100 to 200
    passes. Options for few passes were chosen on 500 of the training digits: the rate and the end of kappa count.
    """
    x, y = data()
    recipe = kind(st.Linf(0.3), kappa=0.0, warmup=0.02, ramp=0.3)
    model = trained(recipe, epochs=12, batch=20, lr=3e-3, drop=(0.7, 0.85))
    proved, attacked = st.certify(model, x, y, st.Linf(0.3), "interval").rate, left(model, 0.3, st.PGD(40))
    print(f"{kind.__name__}: clean {accuracy(model):.3f}, PGD-40 {attacked:.3f}, proved {proved:.3f}")
    assert proved >= 0.5
    assert attacked - proved <= 0.1
    assert accuracy(model) >= 0.8


@SEEDS
def test_distillation_hides_gradients_and_nothing_else(seed):
    """Papernot et al., 2016; broken by Carlini and Wagner, 2016."""
    x, y = data()
    x, y = x[:40], y[:40]
    first, carlini = plain(seed=seed), st.CarliniWagner(steps=300, rounds=6, c=0.01)
    teacher = trained(Tempered(100.0), seed=seed, lr=1e-2)
    student = trained(Distillation(teacher, 100.0), seed=seed, lr=1e-2)
    sizes, zeros, fooled, found, lengths = [], [], [], [], []
    for model in (first, student):
        seen = x.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(seen).softmax(1).gather(1, y[:, None]).sum(), seen)
        sizes.append(float(slope.abs().mean()))
        zeros.append(float((slope == 0).flatten(1).all(1).float().mean()))
        fooled.append(st.FGSM()(model, x, st.Untargeted(y), st.Linf(0.3)).rate)
        result = carlini(model, x, st.Untargeted(y), st.L2())
        found.append(result.rate)
        lengths.append(float(result.size.mean()))
    print(f"clean {accuracy(first):.3f} {accuracy(student):.3f}, slopes {sizes}, zero {zeros}, FGSM {fooled}, "
          f"C&W {found}, L2 {lengths}")  # fmt: skip
    assert sizes[1] < 1e-6 * sizes[0]
    assert fooled[0] - fooled[1] > 0.6
    assert found == [1.0, 1.0]
    assert lengths[1] / lengths[0] == pytest.approx(1, abs=0.3)
    assert accuracy(first) - accuracy(student) < 0.014 + 0.01  # and a point for 500 digits


def test_ensemble_training_helps_against_other_networks_and_masks_less():
    """Tramer et al., 2018, with three sources of two architectures and a fourth network held out."""
    threat, held = st.Linf(0.3), plain(DigitsCNN, 7)
    sources = (plain(), plain(dense), plain(DigitsCNN))
    alone = trained(FGSMAT(threat))
    together = trained(EnsembleAT(threat, sources=sources))
    white, from_held = (1 - left(alone, 0.3, st.FGSM(), on) for on in (None, held))
    stepped = 1 - left(alone, 0.3, st.RFGSM())
    black = 1 - left(together, 0.3, st.FGSM(), held)
    print(f"clean {accuracy(alone):.3f} {accuracy(together):.3f}; alone: FGSM error {white:.3f}, R+FGSM {stepped:.3f}, "
          f"from the held-out network {from_held:.3f}; with sources {black:.3f}")  # fmt: skip
    assert from_held > white
    assert stepped >= white + 0.1
    assert black < from_held


LONGER = {"epochs": 15, "batch": 40}


@SEEDS
def test_parseval_holds_hidden_layers_near_one_for_at_most_a_point(seed):
    """Cisse et al., 2017: and FGSM at 0.1 gets less. Its option was chosen on 500 of the training digits."""
    first, tight = plain(dense, seed, **LONGER), trained(Parseval(0.005, last=False), dense, seed=seed, **LONGER)
    values = [float(torch.linalg.svdvals(layer.weight.detach()).max()) for layer in (tight[1], tight[3])]
    attacked = [left(model, 0.1, st.FGSM()) for model in (first, tight)]
    print(f"largest {values}, clean {clean(first):.3f} {clean(tight):.3f}, FGSM {attacked}")
    assert all(0.8 <= value <= 1.3 for value in values)
    assert attacked[1] >= attacked[0] + 0.05
    assert clean(tight) >= clean(first) - 0.01


def distortion(model):
    """The mean root of the mean square of the smallest changes found in L2, over rows that were right."""
    x, y = data()
    x, y = x[:100], y[:100]
    result = st.DDN(steps=100)(model, x, st.Untargeted(y), st.L2())
    return float(result.size[result.size > 0].mean() / 28)


@pytest.mark.parametrize(
    ("recipe", "make", "gain", "how", "seed"),
    [
        (Spectral(weight=0.1, most=2.0), small, 1.1, {}, 0),
        *((Contractive(0.03), dense, 1.15, {}, seed) for seed in range(3)),
        *((GradientPenalty(1.0), dense, 1.15, LONGER, seed) for seed in range(3)),
    ],
)
def test_penalties_on_steepness_make_the_smallest_changes_longer(recipe, make, gain, how, seed):
    """Yoshida and Miyato, 2017; Gu and Rigazio, 2014; Ross and Doshi-Velez, 2018."""
    first, flat = plain(make, seed, **how), trained(recipe, make, seed=seed, **how)
    sizes = distortion(first), distortion(flat)
    print(f"clean {clean(first):.3f} {clean(flat):.3f}, distortion {sizes[0]:.4f} {sizes[1]:.4f}")
    assert sizes[1] >= gain * sizes[0]
    assert clean(flat) >= clean(first) - 0.025
    if isinstance(recipe, Spectral):
        shapes = [(1, 1, 28, 28), (1, 16, 14, 14)]
        layers = [layer for layer in flat if isinstance(layer, nn.Conv2d)]
        norms = [exact_norm(layer, torch.Size(shape)) for layer, shape in zip(layers, shapes, strict=True)]
        assert all(norm.item() < 3 for norm in norms)


@functools.cache
def paired():
    """A network with two heads, and the detector of pairs that do not fit; options chosen on other rows than these."""
    first, rows = plain(), data("train")
    partners = least_confused(first, rows[0][:500], rows[1][:500], st.Linf(0.1))
    heads = trained(CMT(st.Linf(0.2), partners=partners, sources=(first,), weight=1.0))
    return heads, Pairs().fit(heads, *rows).calibrate(data()[0][100:], 0.03)


def test_pairs_of_heads_help_against_a_black_box_and_fall_to_who_knows_both():
    """Wang et al., 2020; nobody has broken it in print, so the last line is our own finding."""
    (x, y), (heads, pairs) = (part[:40] for part in data()), paired()
    alone = left(plain(seed=7), 0.1, st.FGSM()), left(plain(), 0.1, st.FGSM(), plain(seed=7))
    black = left(heads, 0.1, st.FGSM(), plain(seed=7))
    both = st.PGD(100)(Guarded(heads, pairs), x, Evade(st.Untargeted(y)), st.Linf(0.3)).rate
    print(f"clean {accuracy(plain()):.3f} {accuracy(heads):.3f}, black box {black:.3f} (the source and the plain "
          f"network keep {alone}), made for both {both:.3f}")  # fmt: skip
    assert black >= alone[1] + 0.4
    assert accuracy(plain()) - accuracy(heads) <= 0.03
    assert both >= 0.8


@pytest.mark.parametrize(
    "kappa",
    [
        0.0,
        pytest.param(5.0, marks=short("noticed .800, seed 0")),
        pytest.param(20.0, marks=short("noticed .325, seed 0")),
    ],
)
def test_pairs_of_heads_withstand_a_black_box_and_notice_confident_inputs(kappa):
    """Wang et al., 2020: 96.3 % right under black boxes, 98.7 % of confident inputs noticed."""
    (x, y), (heads, pairs) = (part[:40] for part in data()), paired()
    black = left(heads, 0.1, st.FGSM(), plain(seed=7))
    result = st.CarliniWagner(steps=100, rounds=2, c=1.0, kappa=kappa)(heads, x, st.Untargeted(y), st.L2())
    noticed = float(pairs.flags(result.x_adv[result.success]).float().mean())
    print(f"black box {black:.3f}, noticed at a kappa of {kappa:g}: {noticed:.3f}")
    assert min(black, noticed) >= 0.9


def test_inverse_inputs_alone_make_nothing_robust():
    """Pervin et al., 2021: what helps is the steps up the loss."""
    first = plain()
    inverse = trained(InvFGSM(st.Linf(0.1)))
    both = trained(InvFGSM(st.Linf(0.1), beside="fgsm"))
    scores = [(accuracy(model), left(model, 0.1, st.FGSM())) for model in (first, inverse, both)]
    print(scores)
    assert scores[1][1] <= scores[0][1] + 0.02
    assert scores[2][1] >= scores[0][1] + 0.1


@functools.cache
def against_a_generator():
    """Clean accuracy, and what FGSM and PGD-20 leave at 0.1: of a plain network, and of one trained with GAT."""
    models = plain(), trained(GAT(cost=0.01, scale=0.3))
    return [[accuracy(model), *(left(model, 0.1, attack) for attack in (st.FGSM(), st.PGD(20)))] for model in models]


def test_a_generators_changes_help_against_one_step():
    """Lee, Han, Lee, 2017."""
    first, taught = against_a_generator()
    print(f"clean, FGSM, PGD-20: plain {first}, GAT {taught}")
    assert taught[1] >= first[1] + 0.1
    assert taught[2] < taught[1]


@pytest.mark.xfail(
    strict=True, reason="clean .938 of .952; PGD-20 leaves .812, FGSM .832, so little of it is one step's"
)
def test_a_generators_changes_cost_no_clean_accuracy_and_several_steps_break_them():
    """Lee, Han, Lee, 2017: at most a point is lost. Later: PGD leaves less than half of what FGSM leaves."""
    first, taught = against_a_generator()
    assert taught[0] >= first[0] - 0.01
    assert taught[2] < taught[1] / 2
