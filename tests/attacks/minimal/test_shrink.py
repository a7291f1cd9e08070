"""The loop that looks for the smallest change, what it keeps, and the helpers of its rules."""

import math
from dataclasses import dataclass

import pytest
import torch
from torch import nn

import struthio as st
from struthio.attacks.places import by_place, spread
from struthio.attacks.shrink import cosine, shrink, useful, widest
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.testing import small_inputs, small_net


@dataclass(frozen=True)
class Walk:
    """A rule that goes through given changes in turn, the same in every entry."""

    ways: tuple[float, ...]

    def start(self, task, z):
        return {}

    def move(self, task, z, seen, state, step):
        return torch.full_like(z, self.ways[step]), state


class Above(nn.Module):
    """Class 1 where the sum is above a threshold."""

    def __init__(self, threshold):
        super().__init__()
        self.threshold = threshold

    def forward(self, x):
        score = x.flatten(1).sum(1) - self.threshold
        return torch.stack([-score, score], 1)


def walked(ways, threat, x):
    model, goal = Metered(Above(1.0), len(x)), st.Untargeted(torch.zeros(len(x), dtype=torch.long))
    generator = RowGenerator.seeded(0, torch.arange(len(x)))
    found = shrink(model, x, goal, threat, generator, steps=len(ways), rule=Walk(ways), loss=st.Margin())
    return found, model


def test_the_smallest_win_is_kept_and_the_last_look_counts():
    x = torch.zeros(2, 4)
    assert walked((0.9, 0.3, 0.5, 0.1), st.Linf(), x)[0].tolist() == [[pytest.approx(0.3)] * 4] * 2
    assert walked((0.9, 0.1, 0.3), st.Linf(), x)[0].tolist() == [[pytest.approx(0.3)] * 4] * 2
    model = walked((0.9, 0.1, 0.3), st.Linf(), x)[1]
    assert (model.forwards.tolist(), model.backwards.tolist()) == ([4, 4], [3, 3])


def test_a_win_beyond_the_radius_is_none():
    x = torch.zeros(1, 4)
    found, _ = walked((0.9, 0.5), st.Linf(0.2), x)
    assert found.tolist() == [[pytest.approx(0.2)] * 4]


def test_a_threat_without_a_norm_is_refused():
    class Anything(st.Masked):
        p = None

    x = torch.full((1, 4), 0.5)
    with pytest.raises(st.UserError, match="SmallestRadius"):
        walked((0.1,), Anything(st.L2(), torch.ones(4, dtype=torch.bool)), x)


def test_smallest_prefers_wins_then_size_then_score():
    x, row = torch.zeros(1, 1), torch.tensor([0])
    found = Smallest(x)

    def offer(value, size, score, won):
        return bool(found.offer(row, torch.tensor([[value]]), *map(torch.tensor, ([size], [score], [won]))))

    assert offer(1.0, 3.0, -1.0, False)
    assert not offer(2.0, 1.0, -2.0, False)
    assert offer(3.0, 9.0, -0.5, False)
    assert offer(4.0, 5.0, 0.1, True)
    assert not offer(5.0, 6.0, 9.0, True)
    assert offer(6.0, 4.0, 0.1, True)
    assert not offer(7.0, 1.0, -0.1, False)
    assert not offer(8.0, 4.0 * (1 - 1e-8), 0.1, True), "a size smaller by rounding is not smaller"
    assert found.value.item() == 6.0
    assert found.won.all()


def test_cosine_goes_from_first_to_last():
    assert cosine(1.0, 0.2, 0, 10) == 1.0
    assert cosine(1.0, 0.2, 5, 10) == pytest.approx(0.6)
    assert cosine(1.0, 0.2, 10, 10) == pytest.approx(0.2)


def task(x, threat):
    goal, generator = st.Untargeted(torch.zeros(len(x), dtype=torch.long)), RowGenerator.seeded(0, torch.arange(len(x)))
    return Task.whole(Metered(Above(1.0), len(x)), x, goal, threat, generator)


def test_useful_ignores_rounding_at_a_limit():
    x = torch.tensor([[0.1, 0.5]])
    z = torch.tensor([[-0.1 + 1e-8, -0.2]])
    assert useful(task(x, st.L2()), z, torch.tensor([[-1.0, -1.0]])).tolist() == [[0.0, -1.0]]
    assert useful(task(x, st.L2()), z, torch.tensor([[1.0, 1.0]])).tolist() == [[1.0, 1.0]]


def test_widest_is_the_radius_or_what_the_limits_allow():
    x = torch.tensor([[0.0, 0.4]])
    assert widest(task(x, st.L1())).item() == pytest.approx(1.6)
    assert widest(task(x, st.L1(0.5))).item() == pytest.approx(0.5)
    assert widest(task(x, st.L1(box=None))).item() == math.inf


def test_places_are_pixels_where_pixels_count():
    z = torch.arange(24.0).reshape(2, 3, 2, 2)
    for threat, places in ((st.L0(), 12), (st.L0(unit="pixel"), 4), (st.Levels(st.L0(unit="pixel")), 4)):
        assert by_place(threat, z).sum(1).shape == (2, places)
        assert (spread(by_place(threat, z).sum(1), z) * torch.ones_like(z)).shape == z.shape


@pytest.mark.parametrize("attack", [st.DDN(steps=20), st.FMN(steps=20)])
def test_no_row_is_stuck_where_the_slope_vanishes(attack):
    """In steps of a quarter the network has no slope anywhere; random directions, each row its own, still win some."""
    net, x = small_net(), small_inputs(4)

    def flat(v):
        return net((v * 4).round() / 4)

    labels = flat(x).argmax(1)
    result = attack(flat, x, st.Untargeted(labels), st.L2())
    alone = attack(flat, x[2:3], st.Untargeted(labels[2:3]), st.L2(), RowGenerator.seeded(0, torch.tensor([2])))
    assert result.success.any()
    torch.testing.assert_close(alone.x_adv, result.x_adv[2:3])


@pytest.mark.parametrize("name", ["ddn", "fmn", "sigma-zero", "pdgd", "pdpgd", "alma"])
def test_a_model_that_breaks_down_ends_no_search(name):
    """Where the outputs turn to NaN there is no win, and the search goes on to a finite end."""
    net, x = small_net(), small_inputs(3)
    labels = net(x).argmax(1)

    def breaks(v):
        return torch.where(((v - x).abs().flatten(1).amax(1) > 0.2)[:, None], torch.nan, net(v))

    kind = st.attacks.attack_class(name)
    threat = {"l2": st.L2, "l0": st.L0}["l0" if kind.norms == ("l0",) else "l2"]()
    result = kind(steps=30)(breaks, x, st.Untargeted(labels), threat)
    assert result.x_adv.isfinite().all()
    assert torch.equal(result.success, net(result.x_adv).argmax(1) != labels) or not result.success.all()
