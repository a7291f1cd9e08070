"""Doubts after the attacks: exact on made-up ledgers, none about a sound model, and each about a weak attack."""

import pytest
import torch

import struthio as st
from struthio.audit.doubts import from_answers, from_curve, from_radii, from_wins, reconsider
from struthio.audit.judge import majority
from tests.audit import masked

ACCESS = {"apgd": "gradients", "square": "scores", "boundary": "labels", "other": "transfer"}


@pytest.mark.parametrize(
    ("wins", "rows", "expected"),
    [
        ({"apgd": 80, "square": 0}, 100, []),
        ({"apgd": 80, "square": 1}, 10, []),  # one row falls to chance
        ({"apgd": 80, "square": 2}, 100, []),  # one in fifty
        ({"apgd": 80, "square": 2, "boundary": 1}, 100, ["queries-win"]),
        ({"apgd": 0, "other": 5}, 100, ["transfer-wins"]),
    ],
)
def test_who_won(wins, rows, expected):
    found = list(from_wins(wins, ACCESS, rows))
    assert [doubt.name for doubt in found] == expected
    assert all(str(sum(count for part, count in wins.items() if part != "apgd")) in doubt.evidence for doubt in found)


def test_labels_by_other_numbers():
    (doubt,) = from_answers({(0, 1): 30, (1, 0): 30}, ["cat", "dog"])
    assert doubt.name == "other-numbering"
    assert "0 ('cat') is answered 1" in doubt.evidence
    assert not list(from_answers({(0, 0): 30, (1, 0): 30}))


@pytest.mark.parametrize(
    ("curve", "rows", "rises"),
    [
        ({0: 1.0, 0.1: 0.5, 0.2: 0.0}, 100, False),
        ({0.2: 0.0, 0.1: 0.5, 0: 1.0}, 100, False),
        ({0: 1.0, 0.1: 0.5, 0.2: 0.51}, 100, False),
        ({0: 1.0, 0.1: 0.5, 0.2: 0.55}, 100, True),
        ({0: 1.0, 0.1: 0.5, 0.2: 0.6}, 10, False),  # one row of ten
    ],
)
def test_curves(curve, rows, rises):
    assert [doubt.name for doubt in from_curve(curve, rows)] == ["accuracy-rises"] * rises


def test_accuracy_that_rises_with_the_radius_is_found():
    """Rows fall in a band 0.1 to 0.25 away and nowhere else: one step at 0.2 lands in it, one at 0.4 beyond."""
    band = lambda x: (x.flatten(1).mean(1) - 0.5)[:, None].abs().sub(0.175).abs().sub(0.075)  # noqa: E731
    model = lambda x: torch.cat([band(x), -band(x)], 1)  # noqa: E731
    x = 0.5 + 0.01 * torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    y = torch.zeros(12, dtype=torch.int64)
    found = list(from_radii(model, x, y, st.Linf(0.2), st.FGSM(loss=st.Margin())))
    assert [doubt.name for doubt in found] == ["accuracy-rises"]
    assert "0.2" in found[0].evidence
    assert "0.4" in found[0].evidence
    whole = st.PGD(steps=40, loss=st.Margin())
    assert not list(
        from_radii(st.load("zoo:digits-robust"), *(rows[:6] for rows in masked.digits()), st.Linf(0.3), whole)
    )
    assert not list(from_radii(model, x[:0], y[:0], st.Linf(0.2), whole))


def again(model, attack, eps, rows=6):
    x, y = masked.digits()
    threat = st.Linf(eps)
    held = ~attack(model, x, st.Untargeted(y), threat).success
    return {doubt.name for doubt in reconsider(model, x[held][:rows], y[held][:rows], threat, attack, 1)}


def test_no_doubt_about_a_sound_model():
    assert again(st.load("zoo:digits-robust"), st.PGD(steps=10), 0.3) == set()
    x, y = masked.digits()
    assert reconsider(masked.plain(), x[:0], y[:0], st.Linf(0.3), st.PGD()) == ()


def test_an_attack_that_stops_too_early():
    weak = st.PGD(steps=2, step=0.05, random_start=False)
    assert {"more-steps-help", "accuracy-floor"} <= again(st.load("zoo:digits-robust"), weak, 0.4)


def test_an_attack_that_stands_still():
    quantised = masked.behind(masked.undeclared(st.BitDepth(2)))
    assert {"zero-gradient", "noise-wins", "accuracy-floor"} <= again(
        quantised, st.PGD(steps=5, random_start=False), 0.3
    )


@pytest.mark.parametrize(("far", "fewest", "most"), [(3.0, 40, 100), (0.05, 200, 260)])
def test_noise_goes_on_only_where_it_could_still_win(far, fewest, most):
    """The score of noise is normal here: it is 3 spreads beyond the best of 40, or it is not."""
    x, asked = torch.full((4, 1, 8, 8), 0.5), []

    def model(x):
        asked.append(len(x))
        score = x.flatten(1).sum(1) - 32 - far
        return torch.stack([-score, score], 1)

    reconsider(model, x, torch.zeros(4, dtype=torch.int64), st.Linf(0.01), st.FGSM(loss=st.Margin()))
    assert fewest * 4 <= sum(asked) < most * 4


def test_the_majority_of_draws_decides():
    answers = iter([[1, 1, 0], [0, 1, 0], [0, 1, 1]])

    def model(x):
        return torch.nn.functional.one_hot(torch.tensor(next(answers)), 2).float()

    fell = majority(model, torch.zeros(3, 2), st.Untargeted(torch.zeros(3, dtype=torch.long)), draws=3)
    assert fell.tolist() == [False, True, False]
