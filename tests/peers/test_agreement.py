"""Each gradient attack beside its paper written as a plain loop, and beside the peers that can be given the same start.

Eight rows, because torchattacks and ART take the mean of the loss: division by a power of two rounds nothing. The
pixels lie where no radius reaches 0 or 1, because peers clip an L2 change to the limits and we project it exactly.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import struthio as st
from bench import peers
from bench.jobs import job
from struthio.rows import as_generator, norm, per_row
from struthio.types import Threat

EPS = {"linf": 0.1, "l2": 0.25}
STEPS = 10
AUTO_STEPS = 100  # where the paper's checkpoints, p_j times the steps, are whole numbers


@pytest.fixture(scope="module")
def task() -> tuple[nn.Module, Tensor, Tensor]:
    """A small curved network, and rows with the classes it gives them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.Tanh(), nn.Conv2d(8, 8, 3), nn.Tanh(), nn.Flatten(), nn.Linear(288, 5)
        )
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.mul_(2)
        x = 0.3 + 0.4 * torch.rand(8, 1, 8, 8)
    return model.eval(), x, model(x).argmax(1)


@pytest.fixture(scope="module")
def fine(task: tuple[nn.Module, Tensor, Tensor]) -> tuple[nn.Module, Tensor, Tensor]:
    """The same in double precision. Auto-PGD compares losses, and near the top these differ by rounding only."""
    model, x, y = task
    return copy.deepcopy(model).double(), x.double(), y


def slope(model: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient of the cross-entropy, and the cross-entropy [n]."""
    x = x.clone().requires_grad_()
    loss = F.cross_entropy(model(x), y, reduction="none")
    return torch.autograd.grad(loss.sum(), x)[0], loss.detach()


def unit(change: Tensor, p: float) -> Tensor:
    """The sign, or the change at Euclidean length 1."""
    return change.sign() if p == torch.inf else change / per_row(norm(change, 2), change)


def into_the_ball(change: Tensor, eps: float, p: float) -> Tensor:
    """The nearest change of size eps."""
    return change.clamp(-eps, eps) if p == torch.inf else change * per_row((eps / norm(change, 2)).clamp(max=1), change)


def ball(kind: str) -> tuple[Threat, float, float]:
    """A threat, its radius and its norm."""
    threat = st.L2(EPS["l2"]) if kind == "l2" else st.Linf(EPS["linf"])
    return threat, EPS[kind], threat.p


def same(found: Tensor, expected: Tensor) -> None:
    """Equal up to rounding."""
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-6)


# The papers as loops.


def pgd_loop(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, kind: str, steps: int, step: float) -> Tensor:
    """Madry et al., 2018; from no change it is BIM, and one step of eps is FGSM."""
    _, eps, p = ball(kind)
    z = start
    for _ in range(steps):
        grad, _ = slope(model, x + z, y)
        z = into_the_ball(z + step * unit(grad, p), eps, p)
    return x + z


def momentum_loop(model: nn.Module, x: Tensor, y: Tensor, eps: float, steps: int) -> Tensor:
    """Dong et al., 2018, with mu = 1."""
    z, momentum = torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(steps):
        grad, _ = slope(model, x + z, y)
        momentum = momentum + grad / per_row(norm(grad, 1), grad)
        z = (z + eps / steps * momentum.sign()).clamp(-eps, eps)
    return x + z


def auto_loop(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, kind: str, steps: int) -> tuple[Tensor, int]:
    """Croce and Hein, 2020, algorithm 1 and its two conditions; row by row, and how often a row halved its step."""
    _, eps, p = ball(kind)
    marks = [0.0, 0.22]
    while marks[-1] < 1:
        marks.append(marks[-1] + max(marks[-1] - marks[-2] - 0.03, 0.06))
    checks = [int(round(mark * steps, 6)) for mark in marks]
    best, halvings = [], 0
    for row in range(len(x)):
        x0, label, step = x[row : row + 1], y[row : row + 1], 2 * eps
        z = last = start[row : row + 1]
        trail: list[tuple[float, Tensor, Tensor]] = []
        best_at_check, halved = -float("inf"), True
        for k in range(steps + 1):
            grad, loss = slope(model, x0 + z, label)
            trail.append((float(loss), z, grad))
            if k and k in checks and k < steps:
                begin = checks[checks.index(k) - 1]
                rises = sum(trail[i + 1][0] > trail[i][0] for i in range(begin, k))
                top = max(trail, key=lambda seen: seen[0])
                halved = rises <= 0.75 * (k - begin) or (not halved and best_at_check >= top[0])
                best_at_check = top[0]
                if halved:
                    step, halvings = step / 2, halvings + 1
                    _, z, grad = top
            ahead = into_the_ball(z + step * unit(grad, p), eps, p)
            share = 0.75 if k else 1.0
            z, last = into_the_ball(z + share * (ahead - z) + (1 - share) * (z - last), eps, p), z
        best.append(x0 + max(trail, key=lambda seen: seen[0])[1])
    return torch.cat(best), halvings


def sampled(x: Tensor, kind: str) -> Tensor:
    """The random start of seed 0."""
    return ball(kind)[0].sample(x, as_generator(0, x))


def on_the_sphere(x: Tensor, kind: str) -> Tensor:
    """The random start of seed 0, scaled up to the radius."""
    _, eps, p = ball(kind)
    z = sampled(x, kind)
    return z * per_row(eps / norm(z, p), z)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_fgsm_is_one_step(task: tuple[nn.Module, Tensor, Tensor], kind: str) -> None:
    model, x, y = task
    threat, eps, _ = ball(kind)
    expected = pgd_loop(model, x, y, torch.zeros_like(x), kind, 1, eps)
    same(st.FGSM()(model, x, st.Untargeted(y), threat).x_adv, expected)


def test_bim_is_the_loop(task: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = task
    expected = pgd_loop(model, x, y, torch.zeros_like(x), "linf", STEPS, 0.02)
    same(st.BIM(steps=STEPS, level=0.02)(model, x, st.Untargeted(y), st.Linf(EPS["linf"])).x_adv, expected)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_pgd_is_the_loop(task: tuple[nn.Module, Tensor, Tensor], kind: str) -> None:
    model, x, y = task
    threat, eps, _ = ball(kind)
    expected = pgd_loop(model, x, y, sampled(x, kind), kind, STEPS, 0.25 * eps)
    same(st.PGD(steps=STEPS, step=0.25, keep="last")(model, x, st.Untargeted(y), threat).x_adv, expected)


def test_momentum_is_the_loop(task: tuple[nn.Module, Tensor, Tensor]) -> None:
    model, x, y = task
    expected = momentum_loop(model, x, y, EPS["linf"], STEPS)
    same(st.MIFGSM(steps=STEPS)(model, x, st.Untargeted(y), st.Linf(EPS["linf"])).x_adv, expected)


@pytest.mark.parametrize("kind", ["linf", "l2"])
def test_auto_pgd_is_the_loop(fine: tuple[nn.Module, Tensor, Tensor], kind: str) -> None:
    model, x, y = fine
    expected, halvings = auto_loop(model, x, y, on_the_sphere(x, kind), kind, AUTO_STEPS)
    assert halvings > len(x), "the loop has to halve steps, or this test says little"
    same(st.APGD(steps=AUTO_STEPS, keep="best")(model, x, st.Untargeted(y), ball(kind)[0]).x_adv, expected)


# The peers, each made to begin where we begin.


def need(name: str) -> None:
    """Skip where a peer is not installed."""
    if name not in peers.installed():
        pytest.skip(f"{name} is not installed: make bench, or pip install -r bench/requirements*.txt")
    peers.stand_in_for_missing()


def begin_at(name: str, start: Tensor, eps: float, patch: pytest.MonkeyPatch) -> None:
    """Make a peer's random start be `start`."""
    if name == "foolbox":
        from foolbox.attacks import gradient_descent_base as base

        for home in (base.LinfBaseGradientDescent, base.L2BaseGradientDescent):
            patch.setattr(home, "get_random_start", lambda self, x, epsilon: x + type(x)(start))
    elif name == "ART":
        from art.attacks.evasion.projected_gradient_descent import projected_gradient_descent_pytorch as art_pgd

        patch.setattr(art_pgd, "random_sphere", lambda n, m, radius, norm: start.numpy().reshape(n, m))
    else:
        length = norm(start, 2).reshape(-1, 1, 1, 1) / eps

        def uniform(self: Tensor, low: float = 0, high: float = 1) -> Tensor:
            return self.copy_(length if self.shape == length.shape else start / eps * high)

        patch.setattr(torch.Tensor, "uniform_", uniform)
        patch.setattr(torch.Tensor, "normal_", lambda self: self.copy_(start))


@pytest.mark.parametrize("name", ["foolbox", "torchattacks", "ART"])
def test_fgsm_agrees(task: tuple[nn.Module, Tensor, Tensor], name: str) -> None:
    need(name)
    model, x, y = task
    found = st.FGSM()(model, x, st.Untargeted(y), st.Linf(EPS["linf"])).x_adv
    same(found, peers.run(name, "fgsm", model, x, y, EPS["linf"]))


@pytest.mark.parametrize("where", ["bim", "pgd-linf", "pgd-l2"])
@pytest.mark.parametrize("name", ["foolbox", "torchattacks", "ART"])
def test_pgd_agrees(
    task: tuple[nn.Module, Tensor, Tensor], name: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(name)
    model, x, y = task
    attack, kind = ("pgd-linf", "linf") if where == "bim" else (where, where.removeprefix("pgd-"))
    threat, eps, _ = ball(kind)
    start = torch.zeros_like(x) if where == "bim" else sampled(x, kind)
    share = job(attack, model, x, y, eps, STEPS).share
    ours = st.BIM(steps=STEPS, level=share * eps) if where == "bim" else st.PGD(STEPS, share, keep="last")
    found = ours(model, x, st.Untargeted(y), threat).x_adv
    begin_at(name, start, eps, monkeypatch)
    same(found, peers.run(name, attack, model, x, y, eps, STEPS))


def test_pgd_agrees_with_adversarial_library(
    task: tuple[nn.Module, Tensor, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never looks at its last step, and gives x back for rows it has not won: k steps are k - 1."""
    need("adversarial-library")
    model, x, y = task
    eps = EPS["linf"]
    share = job("pgd-linf", model, x, y, eps, STEPS).share
    result = st.PGD(STEPS - 1, share, keep="last")(model, x, st.Untargeted(y), st.Linf(eps))
    assert int(result.success.sum()) >= 4
    begin_at("adversarial-library", sampled(x, "linf"), eps, monkeypatch)
    theirs = peers.run("adversarial-library", "pgd-linf", model, x, y, eps, STEPS)
    same(result.x_adv[result.success], theirs[result.success])


@pytest.mark.parametrize("name", ["torchattacks", "ART"])
def test_momentum_agrees(task: tuple[nn.Module, Tensor, Tensor], name: str) -> None:
    """Not with foolbox 3.3.4, whose momentum adds up signs where the paper adds up gradients."""
    need(name)
    model, x, y = task
    found = st.MIFGSM(steps=STEPS)(model, x, st.Untargeted(y), st.Linf(EPS["linf"])).x_adv
    same(found, peers.run(name, "mi-fgsm", model, x, y, EPS["linf"], STEPS))


def _auto_torchattacks(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, kind: str, steps: int) -> Tensor:
    import torchattacks as ta

    _, eps, p = ball(kind)
    name = {"linf": "Linf", "l2": "L2"}[kind]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch, "rand", lambda shape: (start / per_row(norm(start, p), start) + 1) / 2)
        patch.setattr(torch, "randn", lambda shape: start)
        return ta.APGD(model, norm=name, eps=eps, steps=steps).attack_single_run(x, y)[0]


def _auto_adversarial_library(model: nn.Module, x: Tensor, y: Tensor, start: Tensor, kind: str, steps: int) -> Tensor:
    from adv_lib.attacks.auto_pgd import _apgd

    _, eps, p = ball(kind)
    radii = torch.full((len(x),), eps)
    return _apgd(model, x, y, radii, p, x_init=x + start, n_iter=steps, loss_function="ce")[0]


AUTO: dict[str, Callable[..., Tensor]] = {
    "torchattacks": _auto_torchattacks,
    "adversarial-library": _auto_adversarial_library,
}


@pytest.mark.parametrize("kind", ["linf", "l2"])
@pytest.mark.parametrize("name", AUTO)
def test_auto_pgd_agrees(fine: tuple[nn.Module, Tensor, Tensor], name: str, kind: str) -> None:
    """Not with ART 1.20.1, which returns the last iterate and compares each loss with the best, not with the last."""
    need(name)
    model, x, y = fine
    found = st.APGD(steps=AUTO_STEPS, keep="best")(model, x, st.Untargeted(y), ball(kind)[0]).x_adv
    same(found, AUTO[name](model, x, y, on_the_sphere(x, kind), kind, AUTO_STEPS).detach())
