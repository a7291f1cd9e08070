"""Square Attack against closed forms, and its windows and pyramids against the paper written as loops."""

import math

import numpy as np
import pytest
import torch

import struthio as st
from struthio.attacks.queries.square import Square
from struthio.attacks.queries.windows import as_pictures, pyramids, sides, windows
from struthio.attacks.task import Task
from struthio.meter import Metered
from struthio.rows import RowGenerator, norm
from struthio.testing import LinearModel, exact_distance, linear_model, small_inputs, small_net

BALLS = {"linf": (st.Linf, math.inf), "l2": (st.L2, 2), "l1": (st.L1, 1)}


def a_task(threat, x=None):
    x = small_inputs(4, 8) if x is None else x
    goal, generator = (
        st.Untargeted(torch.zeros(len(x), dtype=torch.int64)),
        RowGenerator.seeded(3, torch.arange(len(x))),
    )
    return Task.whole(Metered(small_net(), len(x)), x, goal, threat, generator)


def amid_the_limits(n=6):
    """A linear model, and rows so near its boundary that no limit binds."""
    model, x = linear_model(48, seed=3), small_inputs(n, 4, seed=3) * 0.4 + 0.3
    with torch.no_grad():
        slope = model.weight[1] - model.weight[0]
        margin = torch.linspace(0.02, 0.05, n).double() * slope.abs().max()
        score = model(x)[:, 1] - model(x)[:, 0]
        x = x + ((margin - score)[:, None] * slope / slope.square().sum()).reshape(x.shape)
    return model, x, model(x).argmax(1)


def test_linear():
    """Squares find the signs of all values, which in Linf is all there is to find."""
    model, x, labels = amid_the_limits()
    distance = exact_distance(model, x, labels, math.inf)
    assert not Square(queries=500)(model, x, st.Untargeted(labels), st.Linf(0.98 * distance)).success.any()
    result = Square()(model, x, st.Untargeted(labels), st.Linf(1.01 * distance))
    assert result.success.all()
    assert (result.forwards < 2000).all()


@pytest.mark.parametrize("norm_name", ["l2", "l1"])
def test_linear_in_one_window(norm_name):
    """Where the slope is a pair of pyramids in one window, that window gets the whole change in the end."""
    kind, p = BALLS[norm_name]
    pair = pyramids((3, 3), 2, torch.zeros(1, dtype=torch.float64))[1].reshape(3, 3)
    weight = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    weight[1, 0, 2:5, 4:7] = pair if p == 2 else pair.sign()
    model = LinearModel((weight - weight.flip(0)).flatten(1), torch.tensor([0.1, -0.1], dtype=torch.float64))
    x = torch.full((3, 1, 8, 8), 0.5, dtype=torch.float64)
    labels = model(x).argmax(1)
    distance = exact_distance(model, x, labels, p)
    assert not Square(queries=200)(model, x, st.Untargeted(labels), kind(0.98 * distance)).success.any()
    assert Square(queries=3000)(model, x, st.Untargeted(labels), kind(1.02 * distance)).success.all()


def test_windows_reach_every_place():
    generator = RowGenerator.seeded(0, torch.arange(3000))
    place = windows(generator, (3, 2), 5, 6)
    corner = place[:, 0]
    counts = torch.bincount(corner, minlength=30).reshape(5, 6)
    assert (counts[:3, :5] > 3000 / 15 * 0.7).all()  # 15 positions, equally likely
    assert counts.sum() == counts[:3, :5].sum()
    assert torch.equal(place[0] - corner[0], torch.tensor([0, 1, 6, 7, 12, 13]))


def test_sizes_follow_the_schedule():
    attack = Square()
    marks = (0, 10, 11, 50, 51, 201, 501, 1001, 2001, 4001)
    assert [attack._share(query) for query in marks] == [0.8 / part for part in (1, 1, 2, 2, 4, 8, 16, 32, 64, 128)]
    assert Square(rescale_schedule=True)._share(4500) == 0.8 / 512
    assert sides(0.8, 28, 28) == (25, 25)
    assert sides(0.8 / 512, 28, 28) == (1, 1)
    assert sides(0.8 / 512, 28, 28, least=3, odd=True) == (3, 3)
    assert sides(0.8, 4, 40) == (4, 30)  # nearly as large a share of a flat picture
    assert sides(0.5, 1, 40) == (1, 16)


def published_eta(s):
    """The pyramids as a loop over growing squares (Andriushchenko et al., 2020, algorithm 3), for L2."""

    def rectangle(x, y):
        delta = np.zeros((x, y))
        corner = [x // 2, y // 2]
        for ring in range(max(x // 2 + 1, y // 2 + 1)):
            lines = slice(max(corner[0], 0), min(corner[0] + 2 * ring + 1, x))
            columns = slice(max(corner[1], 0), min(corner[1] + 2 * ring + 1, y))
            delta[lines, columns] += 1 / (ring + 1) ** 2
            corner = [corner[0] - 1, corner[1] - 1]
        return delta / np.sqrt((delta**2).sum())

    delta = np.concatenate([rectangle(s // 2, s), -rectangle(s - s // 2, s)])
    return delta / np.sqrt((delta**2).sum())


@pytest.mark.parametrize("side", [3, 5, 9, 25])
def test_pyramids(side):
    ours = pyramids((side, side), 2, torch.zeros(1, dtype=torch.float64)).reshape(2, side, side).numpy()
    np.testing.assert_allclose(ours[0], published_eta(side), atol=1e-12)
    np.testing.assert_allclose(ours[1], published_eta(side).T, atol=1e-12)


def test_a_square_changes_one_window():
    """Each proposal differs from the best in one square of its size, in which every value stands at its edge."""
    task = a_task(st.Linf(0.1, box=None))
    z, _ = Square().propose(task, task.threat.zero(task.x), {}, 0)
    assert torch.equal(z.abs(), torch.full_like(z, 0.1))
    assert torch.equal(z, z[:, :, :1].expand_as(z))  # stripes
    for query in (1, 12, 60, 300):
        proposal, _ = Square().propose(task, z, {}, query)
        side = sides(Square()._share(query - 1), 8, 8)[0]
        changed = (proposal != z).any(1)
        assert changed.flatten(1).any(1).all()
        for row in changed:
            lines, columns = row.any(1).nonzero(), row.any(0).nonzero()
            assert lines.max() - lines.min() < side
            assert columns.max() - columns.min() < side
        assert torch.equal(proposal.abs(), torch.full_like(z, 0.1))


@pytest.mark.parametrize("norm_name", ["l2", "l1"])
def test_pyramids_keep_the_radius_full(norm_name):
    """Little radius is given away, also where limits cut values off."""
    kind, p = BALLS[norm_name]
    task = a_task(kind(1.5))
    z, _ = Square().propose(task, task.threat.zero(task.x), {}, 0)
    for query in range(1, 40):
        proposal, _ = Square().propose(task, z, {}, query)
        assert (proposal != z).any()
        assert task.threat.allows(task.x, task.see(proposal)).all()
        assert (norm(proposal, p) > 1.5 * 0.99).all()
        z = proposal


@pytest.mark.parametrize("shape", [(3, 12), (3, 2, 12), (3, 3, 1, 9), (3, 1, 9, 2), (3, 2, 3, 4, 5)])
@pytest.mark.parametrize("norm_name", BALLS)
def test_any_shape(shape, norm_name):
    """Rows of a table and lines are searched with windows of one line."""
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(shape, generator=generator)
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(x[0].numel(), 3)).eval()
    labels = model(x).argmax(1)
    result = Square(queries=60)(model, x, st.Untargeted(labels), BALLS[norm_name][0](0.01))
    assert result.size.max() <= 0.01 + 1e-6
    assert as_pictures(x).ndim == 4


def plain_square(model, x, label, eps, generator, queries):
    """The Linf attack on one picture [c, h, w] as a plain loop; what it found and how often it asked."""
    c, h, w = x.shape
    sign = lambda shape: 2.0 * generator.integers(2, shape)[0].double() - 1  # noqa: E731
    margin = lambda point: float(st.Margin().away(model(point[None]), label[None]).detach())  # noqa: E731
    best = (x + eps * sign((c, 1, w))).clamp(0, 1)
    highest, asked = margin(best), 1
    while asked < queries and highest <= 0:
        s = max(round(math.sqrt(Square()._share(asked - 1) * h * w)), 1)
        top, left = int(generator.integers(h - s + 1)), int(generator.integers(w - s + 1))
        new, colour = best.clone(), eps * sign((c, 1, 1))
        for factor in (1, -1):
            new[:, top : top + s, left : left + s] = (x[:, top : top + s, left : left + s] + factor * colour).clamp(
                0, 1
            )
            if not torch.equal(new, best):
                break
        score, asked = margin(new), asked + 1
        if score > highest:
            best, highest = new, score
    return best, asked


def test_as_a_plain_loop():
    model, x = small_net(8), small_inputs(8, 8)
    labels = model(x).argmax(1)
    result = Square(queries=80)(model, x, st.Untargeted(labels), st.Linf(0.04), 5)
    assert result.success.any()
    assert not result.success.all()
    for row in range(8):
        generator = RowGenerator.seeded(5, torch.tensor([row]))
        found, asked = plain_square(model, x[row], labels[row], 0.04, generator, 80)
        torch.testing.assert_close(result.x_adv[row], found, atol=1e-12, rtol=0)
        assert int(result.forwards[row]) == asked + 1


class Nearly(st.FGSM):
    """The step along the slope, with its sign turned in a few values."""

    def search(self, model, x, goal, threat, generator):
        z = (super().search(model, x, goal, threat, generator) - x).flatten(1)
        return x + torch.cat([-z[:, :6], z[:, 6:]], 1).reshape(x.shape)


def test_squares_go_on_from_where_another_attack_came_to():
    """Its points are where the climb begins, so they are never lost, and what it wins stays won."""
    model, x, labels = amid_the_limits()
    goal, threat = st.Untargeted(labels), st.Linf(1.05 * exact_distance(model, x, labels, math.inf))
    near = Nearly()(model, x, goal, threat)
    assert not near.success.any()
    first = Square(queries=1, after=Nearly())(model, x, goal, threat)
    torch.testing.assert_close(first.x_adv, near.x_adv)
    assert (first.backwards == 1).all()
    further = Square(queries=60, p_init=0.05, after=Nearly())(model, x, goal, threat)
    assert (further.score > near.score).all()
    won = st.FGSM()(model, x, goal, threat)
    assert won.success.all()
    torch.testing.assert_close(Square(after=st.FGSM())(model, x, goal, threat).x_adv, won.x_adv)


def test_random_numbers_drawn_ahead_are_those_drawn_one_by_one():
    one, ahead = (RowGenerator.seeded(5, torch.arange(3)) for _ in range(2))
    one.uniform(), ahead.uniform()
    drawn = ahead.ahead(4, 5)
    for turn in range(4):
        assert one.uniform((5 - turn,), torch.float64).equal(drawn[:, turn, : 5 - turn])
    assert one.normal((2,)).equal(ahead.normal((2,)))
