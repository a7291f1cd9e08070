"""On linear models the exact distance is known: nobody wins within 0.98 of it, and gradient attacks win within 1.02."""

import functools
import math

import pytest
import torch

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.testing import exact_distance, linear_model, small_inputs

BALLS = {"linf": (st.Linf, math.inf), "l2": (st.L2, 2), "l1": (st.L1, 1)}
OPTIONS = {
    "bim": {"steps": 20},  # else taken from the radius, which here differs by row
    "odi-pgd": {"restarts": 2},
}
NOT_EXACT = {
    "r-fgsm": "spends half the radius on a random step, which gains nothing on average",
    "di-fgsm": "takes the slope through a resized view, which is not the model's",
    "ti-fgsm": "blurs the slope, which is then not the model's",
}
CASES = [
    (name, norm, classes)
    for name, home in ATTACKS.items()
    if ".minimal." not in home  # these have an examination of their own, minimal/test_linear.py
    for norm in BALLS
    for classes in (2, 4)
    if norm in attack_class(name).norms and (name, classes) != ("apgd-t", 2)  # whose loss compares four classes
]


@functools.cache
def near_the_boundary(classes):
    """Rows amid the limits, so near the boundary that no limit binds; all classes but the first two are far away."""
    model, x = linear_model(48, classes, seed=3), small_inputs(6, 4, seed=3) * 0.4 + 0.3
    with torch.no_grad():
        model.bias[2:] -= 40
        slope = model.weight[1] - model.weight[0]
        score = x.flatten(1) @ slope + model.bias[1] - model.bias[0]
        margin = torch.tensor([-0.15, -0.1, -0.05, 0.05, 0.1, 0.15]).double() * slope.abs().max()
        x = x + ((margin - score)[:, None] * slope / slope.square().sum()).reshape(x.shape)
        labels = model(x).argmax(1)
    assert labels.tolist() == [0, 0, 0, 1, 1, 1]
    for p in (1, 2, math.inf):
        torch.testing.assert_close(exact_distance(model, x, labels, p), exact_distance(model, x, labels, p, box=None))
    return model, x, labels


@functools.cache
def far_from_the_boundary(seed):
    """Rows of which many values sit at a limit, all of class 1 and a long way from class 0."""
    model, x = linear_model(48, seed=seed), small_inputs(6, 4, seed=seed)
    with torch.no_grad():
        model.bias += torch.tensor([-4, 4]) - model(x).mean(0)
        labels = model(x).argmax(1)
    return model, x, labels


distance = functools.cache(exact_distance)


def won(attack, norm, model, x, labels, share):
    kind, p = BALLS[norm]
    return attack(model, x, st.Untargeted(labels), kind(share * distance(model, x, labels, p))).success


def made(name):
    """The attack; those that ask for scores or labels get a few hundred questions."""
    asking = {"queries": 300} if "queries" in attack_class(name).__dataclass_fields__ else {}
    return attack_class(name)(**{**asking, **OPTIONS.get(name, {})})


@pytest.mark.parametrize(("name", "norm", "classes"), CASES)
def test_no_attack_wins_too_early(name, norm, classes):
    attack = made(name)
    assert not won(attack, norm, *near_the_boundary(classes), 0.98).any()


@pytest.mark.parametrize(
    ("name", "norm", "classes"),
    [case for case in CASES if case[0] not in NOT_EXACT and attack_class(case[0]).access == "gradients"],
)
def test_gradient_attacks_win_in_time(name, norm, classes):
    attack = made(name)
    assert won(attack, norm, *near_the_boundary(classes), 1.02).all()


def test_every_exemption_is_needed_and_goes_when_its_cause_does():
    model, x, labels = near_the_boundary(2)
    for attack in (st.RFGSM(), st.DIFGSM(smallest=0.5), st.TIFGSM()):
        assert not won(attack, "linf", model, x, labels, 1.02).all(), attack
    for attack in (st.RFGSM(alpha=0.0), st.DIFGSM(probability=0.0), st.TIFGSM(size=1)):
        assert won(attack, "linf", model, x, labels, 1.02).all(), attack


STRONG = {
    "apgd": (st.APGD(steps=400), ("linf", "l2", "l1")),
    "apgd with restarts": (st.APGD(restarts=3), ("linf", "l2", "l1")),
    "apgd on the margin": (st.APGD(steps=300, loss=st.Margin(), keep="best"), ("linf", "l2", "l1")),
    # Not in L1: few values a step, each as long as the others, refill what the projection took from the last ones.
    "pgd": (st.PGD(steps=200, step=1.0), ("linf", "l2")),
}


@pytest.mark.parametrize(("name", "norm"), [(name, norm) for name, (_, norms) in STRONG.items() for norm in norms])
@pytest.mark.parametrize("seed", range(2))
def test_limits_that_bind(name, norm, seed):
    """The exact distance takes the limits into account, and so do strong attacks."""
    attack, (model, x, labels) = STRONG[name][0], far_from_the_boundary(seed)
    p = BALLS[norm][1]
    assert (distance(model, x, labels, p) > 1.02 * distance(model, x, labels, p, box=None)).any()
    assert not won(attack, norm, model, x, labels, 0.98).any()
    assert won(attack, norm, model, x, labels, 1.02).all()


@pytest.mark.parametrize("attack", [st.PGD(steps=100, step=1.0, loss=st.Margin(), restarts=3), st.APGDT(targets=3)])
@pytest.mark.parametrize("norm", BALLS)
def test_four_classes_alike(norm, attack):
    """Where several classes are near, each has to be tried: the nearest is not the likeliest."""
    model, x = linear_model(48, classes=4, seed=1), small_inputs(8, 4, seed=1) * 0.2 + 0.4
    with torch.no_grad():
        model.bias -= model(x).mean(0)
        labels = model(x).argmax(1)
    assert len(labels.unique()) == 4
    each = attack if isinstance(attack, st.APGDT) else st.EachTarget(attack, 3)
    assert not won(each, norm, model, x, labels, 0.98).any()
    assert won(each, norm, model, x, labels, 1.02).all()


def test_nothing_is_won_with_one_value_too_few():
    """In L0 the exact distance is the least number of values whose gains, largest first, make up the margin."""
    model, x, labels = far_from_the_boundary(2)
    scores, exact = model(x), []
    for row, label in enumerate(labels.tolist()):
        slope = (model.weight[1 - label] - model.weight[label]).detach()
        flat = x[row].flatten()
        gains = torch.where(slope > 0, slope * (1 - flat), -slope * flat).sort(descending=True).values.cumsum(0)
        exact.append(int((gains < scores[row, label] - scores[row, 1 - label]).sum()) + 1)
    exact = torch.tensor(exact)
    assert exact.min() >= 2
    for attack in (st.FGSM(), st.PGD(), st.PGD(step=1.0), st.PGD(steps=200, restarts=2)):
        assert not attack(model, x, st.Untargeted(labels), st.L0(exact - 1)).success.any()
    for attack in (st.FGSM(), st.PGD(step=1.0), st.PGD()):
        assert attack(model, x, st.Untargeted(labels), st.L0(exact)).success.all()
