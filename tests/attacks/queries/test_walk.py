"""What label attacks share, on linear models, where the boundary and its slope are known."""

import math

import pytest
import torch

import struthio as st
from struthio.attacks.walk import Walk, _shifts, span
from struthio.rows import RowGenerator
from struthio.testing import exact_distance, linear_model, small_inputs


def setting(n=6, threat=None, budget=None, queries=1000, seed=3):
    model, x = linear_model(48, seed=seed), small_inputs(n, 4, seed=seed) * 0.4 + 0.3
    with torch.no_grad():
        labels = model(x).argmax(1)
    meter = st.Metered(model, n, budget)
    walk = Walk(meter, x, st.Untargeted(labels), threat or st.L2(), RowGenerator.seeded(0, torch.arange(n)), queries)
    return model, x, labels, meter, walk


def test_what_is_won_already_costs_one_question():
    _, x, labels, meter, walk = setting()
    walk.task.goal.labels[2] = 1 - labels[2]
    assert walk.begin().tolist() == [0, 1, 3, 4, 5]
    assert meter.forwards[2] == 1
    assert walk.found.size[2] == 0
    assert torch.equal(walk.end()[2], x[2])


def test_a_start_that_wins_is_taken_and_one_that_loses_is_not():
    model, x, labels, _, walk = setting()
    other = torch.stack([x[(labels != label).nonzero()[0, 0]] for label in labels])
    other[0] = x[0]
    walk.begin(other)
    assert torch.equal(walk.found.value[1:], other[1:])
    assert model(walk.found.value[:1]).argmax(1) != labels[0]
    assert walk.left.tolist()[1:] == [998] * 5


def test_a_start_follows_its_row():
    """In a cascade or on the rows that are left, the start is still that of the row in the whole call."""
    model, x, labels, _, _ = setting()
    other = torch.stack([x[(labels != label).nonzero()[0, 0]] for label in labels])
    rows = torch.tensor([4, 1])
    part = Walk(
        st.Metered(model, 6)[rows], x[rows], st.Untargeted(labels[rows]), st.L2(), RowGenerator.seeded(0, rows), 100
    )
    part.begin(other)
    assert torch.equal(part.found.value, other[rows])


@pytest.mark.parametrize("grain", [1, 4, 8])
def test_noise_of_every_grain(grain):
    """Where fine noise always looks the same to the model, coarser noise may not: rows are not given up after one."""
    x = torch.full((3, 1, 8, 8), 0.5)

    def model(x):
        spread = x.reshape(-1, 8 // grain, grain, 8 // grain, grain).mean((2, 4)).flatten(1)
        deviates = (spread - 0.5).abs().amax(1) > 0.4
        return torch.nn.functional.one_hot(deviates.long(), 2).float()

    goal, generator = st.Untargeted(torch.zeros(3).long()), RowGenerator.seeded(1, torch.arange(3))
    walk = Walk(st.Metered(model, 3), x, goal, st.L2(), generator, 500)
    assert len(walk.begin()) == 3


def test_a_row_that_no_noise_wins_is_given_up():
    x = torch.rand(2, 5)
    walk = Walk(
        st.Metered(lambda x: torch.eye(3)[torch.zeros(len(x)).long()], 2),
        x, st.Targeted(torch.tensor([1, 2])), st.L2(), RowGenerator.seeded(1, torch.arange(2)), 40,
    )  # fmt: skip
    assert len(walk.begin()) == 0
    assert walk.left.tolist() == [0, 0]
    assert torch.equal(walk.end(), x)


@pytest.mark.parametrize(("kind", "p"), [(st.L2, 2), (st.Linf, math.inf)])
def test_back_ends_at_the_boundary(kind, p):
    model, x, labels, _, walk = setting(threat=kind())
    rows = walk.begin()
    edge = walk.back(rows, walk.found.value[rows], torch.full((len(rows),), 1e-6))
    margin = model(edge) @ torch.tensor([-1.0, 1.0]).double() * (1 - 2 * labels)
    dual = 1 if p == math.inf else 2
    assert (margin > 0).all()
    assert (margin / 2 <= 1.1e-6 * torch.linalg.vector_norm(model.weight[1], ord=dual)).all()
    assert (walk.size(rows, edge) >= exact_distance(model, x, labels, p) * (1 - 1e-9)).all()


def test_the_line_back_is_straight_in_l2_and_a_cut_in_linf():
    for kind in (st.L2, st.Linf):
        _, x, _, _, walk = setting(threat=kind())
        rows = walk.begin()
        far = walk.found.value[rows]
        change, start = (walk.back(rows, far, torch.full((6,), 1e-3)) - x).flatten(1), (far - x).flatten(1)
        if kind is st.L2:
            assert torch.allclose(torch.cosine_similarity(change, start), torch.ones(6).double())
        else:
            cut = change.abs().amax(1, keepdim=True)
            assert torch.allclose(change, start.clamp(-cut, cut))


def draws(x, rows, seed=0):
    generator = RowGenerator.seeded(seed, rows)
    return lambda k: torch.nn.functional.normalize(
        generator.normal((k, *x.shape[1:]), x.dtype).transpose(0, 1).flatten(2), dim=2
    ).reshape(k, len(rows), *x.shape[1:])


def test_the_slope_of_a_linear_model():
    model, x, labels, _, walk = setting(queries=5000)
    rows = walk.begin()
    edge = walk.back(rows, walk.found.value[rows], torch.full((6,), 1e-9))
    way = walk.slope(rows, edge, torch.full((6,), 0.01), torch.full((6,), 4000), draws(x, rows))
    true = model.weight[1] * (1 - 2 * labels)[:, None]
    assert (torch.cosine_similarity(way.flatten(1), true) > 0.97).all()  # sqrt(1 - 48 * pi / 2 / 4000) = 0.99


def test_rows_may_ask_about_different_numbers_of_probes():
    """Each gets the slope that it gets alone."""
    _, x, _, meter, walk = setting()
    rows, counts = walk.begin(), torch.tensor([7, 50, 50, 1, 200, 7])
    edge = walk.back(rows, walk.found.value[rows], torch.full((6,), 1e-6))
    before = meter.forwards.clone()
    together = walk.slope(rows, edge, torch.full((6,), 0.01), counts, draws(x, rows))
    assert torch.equal(meter.forwards - before, counts)
    for row in rows.split(1):
        alone = walk.slope(row, edge[row], torch.full((1,), 0.01), counts[row], draws(x, row))
        torch.testing.assert_close(alone, together[row])


def test_where_all_probes_win_or_all_lose():
    """The mean of the probes points the way into, or out of, where they are."""
    _, x, _, _, walk = setting()
    rows = walk.begin()
    inside, outside = walk.found.value[rows], x
    probes = draws(x, rows)(3)
    deep = walk.slope(rows, inside, torch.full((6,), 1e-7), torch.full((6,), 3), lambda k: probes)
    lost = walk.slope(rows, outside, torch.full((6,), 1e-7), torch.full((6,), 3), lambda k: probes)
    torch.testing.assert_close(deep, 1e-7 * probes.sum(0), rtol=1e-6, atol=1e-12)
    torch.testing.assert_close(lost, -1e-7 * probes.sum(0), rtol=1e-6, atol=1e-12)


def test_shifts():
    due = torch.tensor([5, 0, 2, 5])
    assert [(low, high, who.tolist()) for low, high, who in _shifts(due)] == [(0, 2, [0, 2, 3]), (2, 5, [0, 3])]


def test_a_leap_is_halved_until_it_wins():
    model, x, labels, _, walk = setting()
    rows = walk.begin()
    edge = walk.back(rows, walk.found.value[rows], torch.full((6,), 1e-4))
    wrong = -(model.weight[1] * (1 - 2 * labels)[:, None]).reshape(x.shape).detach()
    ahead = walk.leap(rows, edge, wrong, torch.ones(6).double())
    assert (model(ahead).argmax(1) != labels).all()
    assert ((ahead - edge).flatten(1).norm(dim=1) < 1e-3).all()


def test_one_question_is_left_for_the_judge():
    for budget in (1, 2, 5, 30):
        _, _, _, meter, walk = setting(budget=budget)
        rows = walk.begin()
        walk.back(rows, walk.found.value[rows], torch.full((len(rows),), 1e-9))
        assert (meter.forwards <= budget - 1).all()
        assert meter.forwards.max() == budget - 1


def test_span():
    x = torch.rand(2, 3)
    low, high = span(st.Levels(st.L2(box=st.Box(-1, 1)), box=st.Box(-1, 1)), x)
    assert torch.equal(low, -torch.ones(2, 3))
    assert torch.equal(high, torch.ones(2, 3))
    low, high = span(st.L2(box=None), x)
    assert (low < -5).all()
    assert (high > 5).all()


def test_a_start_of_another_shape_is_refused():
    *_, walk = setting()
    with pytest.raises(st.UserError, match=r"\(2, 3, 4, 4\).*\(6, 3, 4, 4\)"):
        walk.begin(torch.zeros(2, 3, 4, 4))


ATTACKS = [(st.HopSkipJump, 2), (st.HopSkipJump, math.inf), (st.Boundary, 2), (st.RayS, math.inf), (st.GeoDA, 2)]


@pytest.mark.parametrize(("kind", "p"), ATTACKS)
@pytest.mark.parametrize("d", [1, 2, 7])
def test_rows_of_a_table(kind, p, d):
    """Inputs [n, d] in single precision, also of a single value."""
    model, x = linear_model(d, seed=2).float(), torch.rand(5, d, generator=torch.Generator().manual_seed(0)) * 6 - 3
    with torch.no_grad():
        model.bias[1] -= model(x)[:, 1].mean()
        model.bias[0] = -model.bias[1]
        labels = model(x).argmax(1)
    box = st.Box(-3.0, 3.0)
    threat = st.L2(box=box) if p == 2 else st.Linf(box=box)
    options = {"band": 1.0} if kind is st.GeoDA else {}
    result = kind(queries=1500, **options)(model, x, st.Untargeted(labels), threat)
    ratio = result.size / exact_distance(model, x, labels, p, box)
    assert result.success.all()
    assert ratio.min() >= 1 - 1e-4
    assert ratio.median() <= 1.25


@pytest.mark.parametrize(("kind", "p"), ATTACKS)
def test_no_question_is_about_a_point_that_is_not_allowed(kind, p):
    """Outside the limits, off the levels or outside the mask nothing is asked about, whatever the size."""
    asked, x = [], (small_inputs(1, 4, seed=3) * 0.4 + 0.3).mul(255).round().div(255)
    model = linear_model(48, seed=3)
    mask = torch.rand(3, 4, 4, generator=torch.Generator().manual_seed(0)) < 0.8
    threat = st.Levels(st.Masked(st.L2() if p == 2 else st.Linf(), mask))

    def seen(x):
        asked.append(x)
        return model(x)

    kind(queries=150)(seen, x, st.Untargeted(model(x).argmax(1)), threat)
    points = torch.cat(asked)
    assert len(points) > 100
    assert points.min() >= 0
    assert points.max() <= 1
    torch.testing.assert_close((points * 255).round() / 255, points, atol=1e-9, rtol=0)
    assert ((points == x) | mask).all()
