"""Cuts: no point goes below a bound, whatever is cut and whatever the multipliers; and in the end they decide."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.certify import certify
from struthio.certify.branch import Search
from struthio.certify.certificate import margin_questions
from struthio.certify.chosen import Chosen
from struthio.certify.cuts import Cuts
from struthio.certify.linear import bounded
from struthio.certify.region import region_of
from struthio.certify.trace import trace

BENDS = [nn.ReLU, nn.LeakyReLU, nn.ReLU6, nn.GELU, nn.Sigmoid, nn.SiLU]
THREATS = [st.Linf(0.3), st.L2(0.4), st.L1(0.6)]


def small(seed, kind=nn.ReLU):
    """A network whose weights are large enough to bend everywhere, and two rows."""
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(3, 7), kind(), nn.Linear(7, 6), kind(), nn.Linear(6, 3)).eval()
    for parameter in model.parameters():
        parameter.data *= 3
    return model.requires_grad_(False), torch.rand(2, 3)


def inside(x, threat, count=3000):
    """Many points of the threat around a row, half of them on its border."""
    z = threat.sample(x.expand(count, 3), st.RowGenerator.seeded(0, torch.arange(count)))
    z[::2] = threat.project(x, 5 * z[::2])
    return threat.apply(x, z).double()


@pytest.mark.parametrize("seed", range(6))
def test_no_point_on_its_side_of_the_cuts_is_below_the_bound(seed):
    (model, x), threat = small(seed, BENDS[seed]), THREATS[seed % 3]
    network = trace(model, x)
    state, a = bounded(network, region_of(threat, x)), torch.randn(2, 3).double()
    draw = torch.Generator().manual_seed(seed)
    (first, second) = (node.sources[0] for node in network.nodes if node.relaxation is not None)
    places = torch.randint(13, (40, 3), generator=draw)
    sides = torch.randint(2, (40, 3), generator=draw) * 2.0 - 1
    rows = torch.arange(40) % 2
    values = torch.cat(
        [torch.cat([low, high], 1)[rows].mean(1) for low, high in (state.intervals[first], state.intervals[second])], 1
    )
    edges = values.gather(1, places)
    cuts = Cuts({first: range(7), second: range(7, 13)}, places, edges, sides.double())
    chosen = Chosen(None, 3 * torch.rand(40, 3, generator=draw).double() ** 2)
    part = state.part(rows, cuts)
    bound = part.below(len(network.nodes) - 1, a[rows].unsqueeze(1), torch.arange(40), chosen)
    for row in range(2):
        points = inside(x[row : row + 1], threat)
        seen = network.values(points.unsqueeze(1))
        hidden, outputs = torch.cat([seen[first], seen[second]], 2).flatten(1), seen[-1].flatten(1) @ a[row]
        for entry in (rows == row).nonzero().flatten():
            there = ((hidden[:, places[entry]] - edges[entry]) * sides[entry] >= 0).all(1)
            assert bool((outputs[there] >= bound[entry] - 1e-9).all())


@pytest.mark.parametrize("seed", range(6))
def test_cuts_come_near_the_least_and_never_above(seed):
    (model, x), threat = small(seed, BENDS[seed]), THREATS[seed % 3]
    network, labels = trace(model, x), model(x).argmax(1)
    model.double()
    state, (a, rows) = bounded(network, region_of(threat, x)), margin_questions(network, labels)
    points = [model(inside(one, threat)) for one in x.split(1)]
    least = torch.stack([(points[row] @ own).amin() for own, row in zip(a, rows.tolist(), strict=True)])
    plain = state.lowest(a, rows)
    straight = BENDS[seed] in (nn.ReLU, nn.LeakyReLU, nn.ReLU6)
    limits = least - (0.4 if straight else 0.8) * (least - plain) - 5e-3
    found = Search(state, a, rows, limits).run(500)
    assert bool((found.lower <= least + 1e-6).all())
    assert bool((found.lower > limits).all())
    assert bool((found.lower >= plain - 1e-9).all())
    assert int(found.parts.sum()) > 4
    assert not len(found.points)
    beyond = Search(state, a, rows, least + 0.05).run(20)
    assert bool((beyond.lower <= least + 1e-6).all())


def test_a_row_is_proved_where_each_of_its_questions_is():
    model, _ = small(13)
    x = torch.rand(6, 3)
    network, labels = trace(model, x), model(x).argmax(1)
    state, (a, rows) = bounded(network, region_of(st.Linf(0.1), x)), margin_questions(network, labels)
    limits = torch.zeros(len(a)).double()
    together = Search(state, a, rows, limits).run(6)
    alone = torch.stack([Search(state, *(part[one : one + 1] for part in (a, rows, limits))).run(6).lower[0] > 0
                         for one in range(len(a))])  # fmt: skip
    proved = [bool(alone[rows == row].all()) for row in range(6)]
    assert [bool((together.lower[rows == row] > 0).all()) for row in range(6)] == proved
    assert any(proved)


def test_all_is_proved_that_is_true_and_nothing_else():
    (model, _), threat, x = small(13), st.Linf(0.1), torch.rand(12, 3)
    labels = model(x).argmax(1)
    plain, tuned, split = (certify(model, x, labels, threat, method) for method in ("crown", "alpha", "split"))
    assert bool((split.certified >= plain.certified).all())
    assert bool((tuned.lower >= plain.lower - 1e-9).all())
    assert int(split.certified.sum()) > int(tuned.certified.sum())
    robust = [bool((model(inside(one, threat).float()).argmax(1) == label).all())
              for one, label in zip(x.split(1), labels, strict=True)]  # fmt: skip
    assert split.certified.tolist() == robust
    alone = certify(model, x[5:6], labels[5:6], threat, "split")
    assert torch.allclose(alone.lower, split.lower[5:6], atol=1e-8)
    few = certify(model, x, labels, threat, "split", parts=2)
    assert bool((few.certified <= split.certified).all())
