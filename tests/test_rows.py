"""Per-row helpers, and random numbers that belong to a row: their distribution, and what they depend on."""

import math

import numpy as np
import pytest
import torch
from scipy import stats

from struthio.checks import UserError
from struthio.rows import RowGenerator, as_generator, finite, norm, per_row, pick, straight_through, where_rows

N = 2000


def rows(n=N, seed=0, first=0):
    return RowGenerator.seeded(seed, torch.arange(first, first + n))


DRAWS = {
    "uniform": (lambda g: g.uniform((10,), torch.float64), stats.uniform),
    "normal": (lambda g: g.normal((10,), torch.float64), stats.norm),
    "exponential": (lambda g: g.exponential((10,), torch.float64), stats.expon),
}


@pytest.mark.parametrize("name", DRAWS)
@pytest.mark.parametrize("seed", [0, 1, 12345678901234567890])
def test_distribution(name, seed):
    draw, law = DRAWS[name]
    values = draw(rows(seed=seed)).flatten().numpy()
    assert stats.kstest(values, law.cdf).pvalue > 1e-3
    deviation = law.std() / math.sqrt(len(values))
    assert abs(values.mean() - law.mean()) < 4 * deviation
    assert values.var() == pytest.approx(law.var(), rel=0.05)


@pytest.mark.parametrize("name", DRAWS)
def test_nothing_is_correlated(name):
    """Neither rows, nor places in a row, nor draws one after another, nor streams folded apart, nor seeds."""
    draw, _ = DRAWS[name]
    generator = rows()
    first, second = draw(generator), draw(generator)
    columns = [
        *first.unbind(1),
        *second.unbind(1)[:3],
        *draw(rows().fold(0)).unbind(1)[:3],
        *draw(rows().fold(1)).unbind(1)[:3],
        *draw(rows(seed=1)).unbind(1)[:3],
        first.roll(1, 0)[:, 0],
        draw(rows(first=N))[:, 0],
    ]
    together = torch.corrcoef(torch.stack(columns)).fill_diagonal_(0).abs()
    assert together.max() < 5 / math.sqrt(N)


def test_every_bit_of_the_uniform_numbers_is_fair():
    bits = (rows().uniform((10,), torch.float64) * 2**24).long().flatten()
    ones = torch.stack([(bits >> place) & 1 for place in range(24)], 1).double().mean(0)
    assert (ones - 0.5).abs().max() < 5 * 0.5 / math.sqrt(10 * N)


def test_normal_numbers_of_a_pair_are_independent():
    """Box and Muller make two of one draw; their squares must not be correlated either."""
    values = rows(20_000).normal((2,), torch.float64)
    assert abs(np.corrcoef(values.numpy().T ** 2)[0, 1]) < 0.03
    assert (
        stats.kstest(torch.atan2(values[:, 0], values[:, 1]).numpy(), stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue
        > 1e-3
    )


def test_integers_are_fair_and_in_range():
    values = rows().integers(7, (10,))
    assert values.dtype == torch.int64
    assert stats.chisquare(torch.bincount(values.flatten(), minlength=7).numpy()).pvalue > 1e-3
    assert set(rows(50).integers(1, (3,)).flatten().tolist()) == {0}


def test_single_precision_stays_below_one():
    values = rows(20_000).uniform((50,))
    assert values.dtype == torch.float32
    assert float(values.min()) >= 0
    assert float(values.max()) < 1


@pytest.mark.parametrize("name", ["uniform", "normal", "exponential"])
@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_a_row_has_the_same_numbers_in_every_batch(name, shape):
    whole = getattr(rows(8), name)(shape)
    assert whole.shape == (8, *shape)
    order = torch.tensor([5, 2, 7])
    assert torch.equal(getattr(rows(8)[order], name)(shape), whole[order])
    assert torch.equal(getattr(RowGenerator.seeded(0, order), name)(shape), whole[order])
    assert torch.equal(getattr(rows(1, first=4), name)(shape), whole[4:5])


def test_rows_that_leave_do_not_disturb_those_that_stay():
    whole = rows(4)
    first = whole.uniform((2,))
    stays = whole[torch.tensor([1, 3])]
    assert torch.equal(stays.uniform((2,)), whole.uniform((2,))[[1, 3]])
    assert not torch.equal(stays.uniform((2,)), first[[1, 3]])


def test_a_longer_draw_begins_like_a_shorter_one():
    assert torch.equal(rows(3).uniform((10,))[:, :4], rows(3).uniform((4,)))


def test_streams_are_named_by_their_tag():
    assert torch.equal(rows(3).fold(2).uniform(), rows(3).fold(2).uniform())
    values = {tuple(rows(3).fold(tag).uniform().tolist()) for tag in range(50)}
    assert len(values) == 50
    twice = rows(3).fold(1).fold(0).uniform(), rows(3).fold(0).fold(1).uniform(), rows(3).fold(1).uniform()
    assert not torch.equal(twice[0], twice[1])
    assert not torch.equal(twice[0], twice[2])


def reference(seed, row, draw, place):
    """SplitMix64 in plain whole numbers: 24 bits of one uniform number."""
    mask, golden = 2**64 - 1, 0x9E3779B97F4A7C15

    def mix(z):
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    key = mix(mix((seed * 2 + 1) & mask) ^ mix((row * golden + 1) & mask))
    stream = mix((key + draw * 0xD1342543DE82EF95) & mask)
    return mix((stream + (place + 1) * golden) & mask) >> 40


def test_known_numbers():
    """Changing these would change every published result: they are fixed."""
    generator = rows(2)
    for draw in (1, 2):
        numbers = (generator.uniform((2,), torch.float64) * 2**24).long().tolist()
        assert numbers == [[reference(0, row, draw, place) for place in range(2)] for row in range(2)]
    assert reference(0, 0, 1, 0) == 6094019


def test_global_random_state_is_not_touched():
    before = torch.get_rng_state()
    rows(5).normal((3,))
    assert torch.equal(torch.get_rng_state(), before)


def test_generators_from_what_users_give():
    x = torch.zeros(3, 2)
    assert torch.equal(as_generator(5, x).keys, RowGenerator.seeded(5, torch.arange(3)).keys)
    given = RowGenerator.seeded(5, torch.tensor([7, 8, 9]))
    taken = as_generator(given, x)
    taken.uniform()
    assert (given.draws, taken.draws) == (0, 1)
    a, b = (as_generator(torch.Generator().manual_seed(1), x) for _ in range(2))
    assert torch.equal(a.keys, b.keys)
    torch_generator = torch.Generator().manual_seed(1)
    first, second = as_generator(torch_generator, x), as_generator(torch_generator, x)
    assert not torch.equal(first.keys, second.keys)
    for other in (x[:1], torch.zeros(4, 2)):
        with pytest.raises(UserError, match="the generator has 3 rows"):
            as_generator(given, other)


def test_a_slope_made_finite_row_by_row():
    nan, inf = math.nan, math.inf
    slope = torch.tensor([[1.0, -3, 0, inf], [nan, 2, 5, 0], [-inf, nan, 0, 0], [1, 2, 3, 4]])[:, :, None]
    wanted = torch.tensor([[1.0, -3, 0, 2], [0, 2, 5, 0], [-1, 0, 0, 0], [1, 2, 3, 4]])[:, :, None]
    assert torch.equal(finite(slope), wanted)
    assert torch.equal(torch.cat([finite(row[None]) for row in slope]), wanted)


def test_norms_by_hand():
    d = torch.tensor([[[3.0, -4.0]], [[0.0, 0.5]]])
    assert norm(d, 2).tolist() == [5, 0.5]
    assert norm(d, 1).tolist() == [7, 0.5]
    assert norm(d, math.inf).tolist() == [4, 0.5]
    assert norm(d, 0).tolist() == [2, 1]


def test_shapes_and_rows():
    like = torch.zeros(2, 3, 4, 4)
    assert per_row(torch.tensor([1.0, 2.0]), like).shape == (2, 1, 1, 1)
    assert per_row(0.5, like).shape == ()
    assert pick(0.5, slice(0, 1)) == 0.5
    assert pick(None, slice(0, 1)) is None
    assert pick(torch.tensor(2.0), torch.tensor([0])).item() == 2
    assert pick(torch.tensor([1.0, 2.0]), torch.tensor([1])).tolist() == [2]
    mixed = where_rows(torch.tensor([True, False]), torch.ones(2, 3), torch.zeros(2, 3))
    assert mixed.tolist() == [[1, 1, 1], [0, 0, 0]]
    assert where_rows(torch.tensor([False, True]), torch.ones(2, 1), torch.zeros(1, 2)).tolist() == [[0, 0], [1, 1]]
    assert where_rows(torch.tensor([True]), torch.ones(1, 2).double(), torch.zeros(1, 2)).dtype == torch.float64


def test_straight_through_shows_one_value_and_passes_the_slope_of_another():
    z = torch.tensor([0.2, 0.7], requires_grad=True)
    seen = straight_through(z * 3, torch.tensor([1.0, 2.0]))
    assert seen.tolist() == [1, 2]
    seen.sum().backward()
    assert z.grad.tolist() == [3, 3]
