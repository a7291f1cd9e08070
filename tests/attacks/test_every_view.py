"""All answers that a detector compares, fooled at once and then brought together within a piece of what rounds."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.every_view import Answers, Every, for_guarded, pieces
from struthio.detectors import Detector, Guarded
from struthio.detectors.squeezing import Gap, SqueezingGap
from struthio.goals import against
from struthio.losses import Margin
from struthio.models import declared, with_stand_ins


def guarded(squeezers=None, threshold=0.02, size=64):
    """A network on values that are nearly black or white, behind a gap to their rounding at a tight line."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(size, 32), nn.Tanh(), nn.Linear(32, 4)).double().eval()
    net[0].weight.data *= 2
    net[2].weight.data *= 10
    detector = SqueezingGap(squeezers or [st.BitDepth(1)])
    detector.model, detector.shape = net, (size,)
    detector.threshold.fill_(threshold)
    detector.spread.fill_(0.1)
    return Guarded(net, detector)


def rows(model, n=10):
    """Rows that are not flagged, and their classes."""
    x = torch.rand(200, 64, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    x = 0.8 * x.round() + 0.1 + 0.1 * (x - 0.5)
    y = model.model(x).argmax(1)
    right = model(x).argmax(1) == y
    return x[right][:n], y[right][:n]


def test_all_answers_side_by_side():
    model = guarded([st.BitDepth(1), st.BitDepth(2)])
    x = torch.rand(3, 64, dtype=torch.float64)
    net = model.model
    expected = torch.cat([net(x), net(x.round()), net((3 * x).round() / 3)], 1)
    torch.testing.assert_close(Answers(model)(x), expected)
    assert not net._forward_hooks


def test_every_answer_has_to_reach_the_goal():
    goal = Every(st.Untargeted(torch.tensor([0, 0])), 2)
    outputs = torch.tensor([[0.0, 2.0, 0.0, 1.0], [0.0, 2.0, 3.0, 0.0]])
    assert goal.success(outputs).tolist() == [True, False]
    expected = -torch.stack([-torch.tensor([2.0, 2.0]), -torch.tensor([1.0, -3.0])]).logsumexp(0)
    torch.testing.assert_close(goal.score(Margin(), outputs), expected)
    torch.testing.assert_close(goal[1:].score(Margin(), outputs[1:]), expected[1:])


@pytest.mark.parametrize("bits", [1, 3])
def test_a_piece_is_what_is_rounded_alike(bits):
    part = st.BitDepth(bits)
    x = torch.rand(200, dtype=torch.float64)
    ((low, high),) = pieces(nn.Sequential(part, nn.Flatten(0)), x)
    for edge in (low, high):
        assert torch.equal(part(edge.clamp(0, 1)), part(x))
    assert not torch.equal(part((high + 1e-4).clamp(0, 1)), part(x))
    torch.testing.assert_close(high - low, torch.full_like(x, 1 / (2**bits - 1)), atol=1e-5, rtol=0)


def test_the_gap_and_what_stands_in_for_its_slope():
    p, q = torch.tensor([0.9, 0.1]), torch.tensor([0.5, 0.5])
    answers = torch.stack([p, q]).log()[:, None]
    torch.testing.assert_close(Gap()(answers), torch.tensor([0.8]))
    both = (p * (p / q).log()).sum() + (q * (q / p).log()).sum()
    torch.testing.assert_close(Gap().stand_in(answers), both[None])
    sure = torch.tensor([[[60.0, -60.0]], [[-60.0, 60.0]]], requires_grad=True)
    flat, steep = (torch.autograd.grad(gap(sure).sum(), sure)[0].abs().max() for gap in (Gap(), Gap().stand_in))
    assert float(flat) == 0
    assert float(steep) > 0.5


def test_more_falls_than_to_a_slope_through_stand_ins():
    model = guarded()
    x, y = rows(model)
    twin, threat, goal = with_stand_ins(model, declared(model)), st.Linf(0.41), against(y, True)
    joint = st.APGD(30, loss=Margin())(twin, x, goal, threat).success
    result = st.EachTarget(for_guarded(model, twin, x[:2]), 1)(twin, x, goal, threat)
    assert torch.equal(goal.success(model(result.x_adv)), result.success)
    assert bool(threat.allows(x, result.x_adv).all())
    assert int(result.success.sum()) >= int(joint.sum()) + 3
    assert int(result.forwards.max()) <= 160 + 5


def test_there_is_nothing_to_compare_in_one_answer():
    class Height(Detector):
        paper = "nobody"

        def score(self, x):
            return x.mean(1)

    model = guarded()
    alone = Guarded(model.model, Height())
    alone.detector.shape = (64,)
    assert for_guarded(alone, alone, rows(model)[0][:2]) is None
