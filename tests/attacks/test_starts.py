"""Starts of Auto-PGD: on the sphere, and output-diversified ones against the published steps as a plain loop."""

import pytest
import torch

import struthio as st
from struthio.attacks.auto import APGD
from struthio.attacks.starts import OnSphere, OutputDiversified
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm
from struthio.testing import small_inputs, small_net

NET, X = small_net(), small_inputs(8)
GOAL = st.Untargeted(NET(X).argmax(1))


def task(threat, rows=slice(None), seed=0):
    x = X[rows]
    return Task.whole(Metered(NET, len(x)), x, GOAL[rows], threat, RowGenerator.seeded(seed, torch.arange(8)[rows]))


def published(x, eps, generator, steps):
    """One row: a random point, then whole signed steps that raise a random mixture of the outputs (ODI, section 4)."""
    z = torch.minimum(torch.maximum((2 * generator.uniform(x.shape[1:], x.dtype) - 1) * eps, -x), 1 - x)
    w = 2 * generator.uniform((NET(x).shape[1],), x.dtype) - 1
    for _ in range(steps):
        z = z.detach().requires_grad_()
        (slope,) = torch.autograd.grad((NET(x + z) * w).sum(), z)
        z = torch.minimum(torch.maximum((z + eps * slope.sign()).clamp(-eps, eps), -x), 1 - x)
    return z.detach()


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_as_a_plain_loop(steps):
    ours = OutputDiversified(steps)(task(st.Linf(0.05)), Autograd())
    for row in range(8):
        generator = RowGenerator.seeded(0, torch.tensor([row]))
        torch.testing.assert_close(ours[row : row + 1], published(X[row : row + 1], 0.05, generator, steps))


@pytest.mark.parametrize("threat", [st.Linf(0.05), st.L2(0.7)])
@pytest.mark.parametrize("start", [OnSphere(), OutputDiversified()])
def test_starts_lie_in_the_ball_and_belong_to_their_rows(threat, start):
    z = start(task(threat), Autograd())
    assert threat.allows(X, X + z).all()
    torch.testing.assert_close(start(task(threat, slice(3, 6)), Autograd()), z[3:6])
    assert not start(task(threat, seed=1), Autograd()).equal(z)


def test_outputs_are_more_diverse_than_from_random_points():
    """The claim of the paper (its figure 1): the same number of starts spreads the outputs far more."""

    def spread(start):
        points = torch.stack(
            [NET(X + start(task(st.Linf(0.05), seed=seed), Autograd())) for seed in range(10)]
        ).detach()
        return float(norm((points - points.mean(0)).flatten(0, 1), 2).mean())

    assert spread(OutputDiversified()) > 2 * spread(OnSphere())


def test_auto_pgd_begins_where_it_is_told():
    threat = st.Linf(0.02)
    diverse = APGD(1, start=OutputDiversified(), keep="best")(NET, X, GOAL, threat, 3)
    plain = APGD(1, keep="best")(NET, X, GOAL, threat, 3)
    assert (diverse.backwards - plain.backwards == 2).all()


def test_odi_pgd_is_its_start_and_then_steps_on_the_margin():
    """One row, one restart, written plainly: a quarter of the radius along the sign of the margin's slope."""
    eps = 0.01
    found = st.ODIPGD(steps=6, restarts=1, keep="last")(NET, X, GOAL, st.Linf(eps))
    assert found.backwards.tolist() == [2 + 6] * 8
    for row in range(8):
        x, label = X[row : row + 1], GOAL.labels[row]
        z = published(x, eps, RowGenerator.seeded(0, torch.tensor([row])), 2)
        for _ in range(6):
            z = z.detach().requires_grad_()
            outputs = NET(x + z)[0]
            others = torch.cat([outputs[:label], outputs[label + 1 :]])
            (slope,) = torch.autograd.grad(others.max() - outputs[label], z)
            z = torch.minimum(torch.maximum((z + 0.25 * eps * slope.sign()).clamp(-eps, eps), -x), 1 - x)
        torch.testing.assert_close(found.x_adv[row : row + 1], (x + z).detach())


def test_steps_are_counted():
    with pytest.raises(st.UserError, match="steps"):
        OutputDiversified(steps=0)
