"""Each attack agrees to the last digits with ten lines written from its paper, on the same start."""

import pytest
import torch
import torch.nn.functional as F

import struthio as st
from struthio.rows import RowGenerator
from struthio.testing import small_inputs, small_net
from tests.attacks import references as paper

NET, X, EPS = small_net(8), small_inputs(8, 8), 8 / 255
Y = NET(X).argmax(1)
GOAL, THREAT = st.Untargeted(Y), st.Linf(EPS)


def generator():
    return RowGenerator.seeded(0, torch.arange(8))


def found(attack, threat=THREAT):
    return attack(NET, X, GOAL, threat).x_adv


def close(a, b):
    torch.testing.assert_close(a, b, atol=1e-6, rtol=0)


def test_fgsm():
    close(found(st.FGSM()), paper.fgsm(NET, X, Y, EPS))


def test_fgsm_as_first_published_does_not_clip():
    close(found(st.FGSM(), st.Linf(EPS, box=None)), X + EPS * paper.slope(NET, X, Y).sign())


def test_targeted_fgsm_descends():
    target = NET(X).argmin(1)
    expected = (X - EPS * paper.slope(NET, X, target).sign()).clamp(0, 1)
    close(st.FGSM()(NET, X, st.Targeted(target), THREAT).x_adv, expected)
    close(st.FGSM()(NET, X, st.least_likely(NET, X), THREAT).x_adv, expected)


def test_r_fgsm():
    """Noise of half the radius in sign, then the other half along the sign of the slope there."""
    noise = generator().normal(X.shape[1:], X.dtype)
    start = (X + EPS / 2 * noise.sign()).clamp(0, 1)
    close(found(st.RFGSM()), (start + EPS / 2 * paper.slope(NET, start, Y).sign()).clamp(0, 1))


def test_bim():
    """Steps of one level, min(8 + 4, 1.25 * 8) = 10 of them."""
    close(found(st.BIM()), paper.bim(NET, X, Y, EPS, 1 / 255, 10))


@pytest.mark.parametrize(("levels", "steps"), [(1, 2), (2, 3), (4, 5), (16, 20), (32, 36)])
def test_bim_takes_its_steps_from_the_radius(levels, steps):
    """1.25 and 2.5 steps become 2 and 3."""
    result = st.BIM()(NET, X, GOAL, st.Linf(levels / 255))
    assert set(result.backwards.tolist()) == {steps}


def test_pgd():
    start = (2 * generator().uniform(X.shape[1:], X.dtype) - 1) * EPS
    expected = paper.pgd(NET, X, Y, EPS, 0.1 * EPS, 12, start)
    close(found(st.PGD(steps=12, step=0.1, keep="last")), expected)
    close(found(st.PGD(steps=12, step=0.1, keep="last", random_start=False)), paper.bim(NET, X, Y, EPS, 0.1 * EPS, 12))


def test_pgd_steps_are_two_and_a_half_radii_in_all_by_default():
    close(found(st.PGD(steps=10, keep="last", random_start=False)), paper.bim(NET, X, Y, EPS, 0.25 * EPS, 10))


def test_pgd_in_l2():
    attack = st.PGD(steps=12, step=0.2, keep="last", random_start=False)
    close(found(attack, st.L2(0.5, box=None)), paper.pgd_l2(NET, X, Y, 0.5, 0.1, 12))


def test_pgd_keeps_the_first_win_or_the_highest_loss():
    paths = [paper.bim(NET, X, Y, EPS, 0.2 * EPS, steps) for steps in range(11)]
    won = torch.stack([NET(z).argmax(1) != Y for z in paths])
    losses = torch.stack([F.cross_entropy(NET(z), Y, reduction="none") for z in paths])
    assert won.any(0).any()
    assert not won.any(0).all()
    first = found(st.PGD(steps=10, step=0.2, random_start=False))
    best = found(st.PGD(steps=10, step=0.2, random_start=False, keep="best"))
    for row in range(8):
        index = int(won[:, row].double().argmax()) if won[:, row].any() else int(losses[:, row].argmax())
        close(first[row], paths[index][row])
        allowed = losses[:, row].where(won[:, row] | ~won[:, row].any(), -torch.inf)
        close(best[row], paths[int(allowed.argmax())][row])


@pytest.mark.parametrize("mu", [1.0, 0.5])
def test_mi_fgsm(mu):
    close(found(st.MIFGSM(decay=mu)), paper.mi_fgsm(NET, X, Y, EPS, 10, mu))


def test_mi_fgsm_with_no_decay_is_bim():
    close(found(st.MIFGSM(decay=0.0)), paper.bim(NET, X, Y, EPS, EPS / 10, 10))


def test_ni_fgsm():
    close(found(st.NIFGSM()), paper.ni_fgsm(NET, X, Y, EPS, 10, 1.0))


def test_si_ni_fgsm():
    close(found(st.SINIFGSM()), paper.ni_fgsm(NET, X, Y, EPS, 10, 1.0, view=paper.scales(5)))


def test_ti_fgsm():
    view = paper.blurred(7, 2.0)
    close(found(st.TIFGSM(size=7, sigma=2.0)), paper.mi_fgsm(NET, X, Y, EPS, 10, 1.0, view))


def test_vmi_fgsm():
    numbers = generator()
    noises = [[2 * numbers.uniform(X.shape[1:], X.dtype) - 1 for _ in range(4)] for _ in range(10)]
    close(found(st.VMIFGSM(samples=4)), paper.vmi_fgsm(NET, X, Y, EPS, 10, 1.0, noises, 1.5))


def test_di_fgsm_that_never_resizes_is_mi_fgsm():
    close(found(st.DIFGSM(probability=0.0)), found(st.MIFGSM()))
    close(found(st.DIFGSM(probability=1.0, smallest=1.0)), found(st.MIFGSM()))


def cross_entropy(outputs, y):
    return F.cross_entropy(outputs, y)


def dlr(outputs, y):
    top = outputs.sort(1, descending=True).values[0]
    other = outputs[0, [c for c in range(outputs.shape[1]) if c != int(y)]].max()
    return -(outputs[0, int(y)] - other) / (top[0] - top[2] + 1e-12)


@pytest.mark.parametrize("steps", [10, 40, 100])
@pytest.mark.parametrize(("loss", "reference"), [(st.CrossEntropy(), cross_entropy), (st.DLR(), dlr)])
def test_auto_pgd(steps, loss, reference):
    """The point of highest loss, row by row; a radius at which nothing is won keeps wins out of the comparison."""
    eps = 1 / 255
    noise = ((2 * generator().uniform(X.shape[1:], X.dtype) - 1) * eps).clamp(-X, 1 - X)
    start = X + noise * (eps / noise.abs().amax((1, 2, 3), keepdim=True))
    result = st.APGD(steps=steps, loss=loss, keep="best")(NET, X, GOAL, st.Linf(eps))
    held = (~result.success).nonzero().flatten().tolist()
    assert len(held) >= 5
    for row in held:
        one = slice(row, row + 1)
        close(result.x_adv[one], paper.auto_pgd(NET, X[one], Y[one], eps, steps, start[one].clamp(0, 1), reference))


def test_auto_pgd_in_l2():
    eps = 0.05
    way = generator()
    direction, length = way.normal(X.shape[1:], X.dtype), way.uniform((), X.dtype) ** (1 / X[0].numel())
    z = direction / direction.flatten(1).norm(dim=1)[:, None, None, None] * length[:, None, None, None] * eps
    z = z.clamp(-X, 1 - X)
    start = (X + z * (eps / z.flatten(1).norm(dim=1))[:, None, None, None]).clamp(0, 1)
    result = st.APGD(steps=40, keep="best")(NET, X, GOAL, st.L2(eps))
    held = (~result.success).nonzero().flatten().tolist()
    assert len(held) >= 5
    for row in held:
        one = slice(row, row + 1)
        expected = paper.auto_pgd(NET, X[one], Y[one], eps, 40, start[one], cross_entropy, p=2)
        torch.testing.assert_close(result.x_adv[one], expected, atol=1e-6, rtol=0)
