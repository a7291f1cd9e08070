"""The transfer matrix: counts in closed form on linear models, what counts, chance, intervals, text and picture."""

import json
import math
from dataclasses import dataclass

import pytest
import torch
from PIL import Image

import struthio as st
from struthio import UserError
from struthio.attacks.base import Attack
from struthio.explain import transfer_matrix
from struthio.explain.transfer import random_change
from struthio.rows import norm
from struthio.shares import interval
from struthio.testing import linear_model, small_inputs

EPS = 0.02
X = small_inputs(60, 4, seed=1) * 0.5 + 0.25
MODELS = {}
for seed, name in enumerate("abc"):  # three that are much alike, each the first with some weights of its own
    MODELS[name] = linear_model(48, seed=0)
    MODELS[name].weight.data += seed * 0.5 * linear_model(48, seed=seed).weight.data
    MODELS[name].bias.data -= MODELS[name](X).mean(0).detach()
LABELS = (MODELS["a"](X)[:, 1] > 0).long()
LABELS[:5] = 1 - LABELS[:5]  # no model is right on all
THREAT, FGSM = st.Linf(EPS), st.FGSM()


@dataclass(frozen=True)
class Nothing(Attack):
    def search(self, model, x, goal, threat, generator):
        return x


def matrix(models=MODELS, x=X, labels=LABELS, attack=FGSM, threat=THREAT, **options):
    return transfer_matrix(models, x, labels, attack, threat, **options)


@pytest.mark.parametrize("over", ["both", "all", "target"])
def test_counts_have_their_closed_form(over):
    """FGSM on source a moves the score s of target b by eps times the sum of w_b sign(w_a), away from the label."""
    found = matrix(over=over)
    s = {name: model(X)[:, 1].detach() for name, model in MODELS.items()}
    right = {name: (value > 0) == (LABELS == 1) for name, value in s.items()}
    every = torch.stack(list(right.values())).all(0)
    away = torch.where(LABELS == 1, -1, 1)
    assert found.right.tolist() == [int(mask.sum()) for mask in right.values()]
    for i, (source, given) in enumerate(MODELS.items()):
        for j, (target, judge) in enumerate(MODELS.items()):
            shift = away * EPS * (judge.weight[1] * given.weight[1].sign()).sum()
            wrong = (s[target] + shift > 0) != (LABELS == 1)
            counts = {"both": right[source] & right[target], "all": every, "target": right[target]}[over]
            assert int(found.of[i, j]) == int(counts.sum()) > 0
            assert int(found.wrong[i, j]) == int((wrong & counts).sum())
    assert found.wrong[~found.own].min() > 0
    if over == "all":  # nothing of that size moves a linear model more than its own slope
        assert torch.equal(found.rates.diagonal(), found.rates.amax(0))
    assert found.rows == 60


def test_over_both_and_over_all_count_the_same_inputs_in_both_directions():
    for over in ("both", "all"):
        of = matrix(over=over).of
        assert torch.equal(of, of.T)
    assert matrix(over="all").of.unique().numel() == 1


def test_no_answer_depends_on_the_batch_or_on_other_models():
    attack = st.PGD(steps=3)
    whole, parts = matrix(attack=attack), matrix(attack=attack, batch_size=7)
    rest = matrix({"b": MODELS["b"], "a": MODELS["a"]}, attack=attack)
    for name in ("wrong", "of", "noise_wrong", "noise_of", "right"):
        assert torch.equal(getattr(whole, name), getattr(parts, name)), name
    assert torch.equal(rest.wrong.flip(0, 1), whole.wrong[:2, :2])


def test_radii_and_masks_belong_to_rows():
    radii = torch.linspace(0.005, 0.04, 60, dtype=X.dtype)
    whole = matrix(threat=st.Linf(radii), batch_size=25)
    parts = [matrix(x=X[i], labels=LABELS[i], threat=st.Linf(radii[i])) for i in torch.arange(60).split(30)]
    assert torch.equal(whole.wrong, parts[0].wrong + parts[1].wrong)
    free = torch.rand(X.shape, generator=torch.Generator().manual_seed(0)) < 0.5
    whole = matrix(threat=st.Masked(st.Linf(0.04), free, each=True), batch_size=25)
    parts = [
        matrix(x=X[i], labels=LABELS[i], threat=st.Masked(st.Linf(0.04), free[i], each=True))
        for i in torch.arange(60).split(30)
    ]
    assert torch.equal(whole.wrong, parts[0].wrong + parts[1].wrong)
    assert not torch.equal(whole.wrong, matrix(threat=st.Linf(0.04)).wrong)


def test_matrices_of_parts_add_up():
    ids = torch.arange(60)
    parts = [
        matrix(x=X[rows], labels=LABELS[rows], attack=st.PGD(steps=3), generator=st.RowGenerator.seeded(0, rows))
        for rows in ids.split(25)
    ]
    total = parts[0] + parts[1] + parts[2]
    assert str(total) == str(matrix(attack=st.PGD(steps=3)))
    with pytest.raises(UserError, match="alike"):
        parts[0] + matrix()


@pytest.mark.parametrize("threat", [st.Linf(0.3), st.L2(2.0), st.L1(5.0), st.L0(9)], ids=["linf", "l2", "l1", "l0"])
def test_the_random_change_is_as_large_as_the_radius_and_within_the_limits(threat):
    x = small_inputs(6, 8, seed=3)
    x[:, :, :4] = 0  # half of the values can only go up
    rows = st.RowGenerator.seeded(0, torch.arange(6))
    noisy = random_change(x, threat, rows)
    torch.testing.assert_close(norm(noisy - x, threat.p), torch.full((6,), float(threat.eps), dtype=x.dtype))
    assert noisy.min() >= 0
    assert noisy.max() <= 1
    assert not torch.equal(noisy, random_change(x, threat, rows.fold(1)))
    ids = torch.arange(6)
    one = random_change(x[3:4], threat, st.RowGenerator.seeded(0, ids[3:4]))
    torch.testing.assert_close(one, random_change(x, threat, st.RowGenerator.seeded(0, ids))[3:4])


def test_chance_is_that_of_a_change_of_the_size_that_was_made():
    """Without a radius the noise is as large as the smallest change that won, and wins hardly ever."""
    found = matrix(attack=st.DDN(steps=20), threat=st.L2())
    assert (found.rates.diagonal() == 1).all()
    assert found.noise.max() < 0.2
    assert matrix(threat=st.Linf(0.0)).noise_wrong.tolist() == [0, 0, 0]
    assert matrix(threat=st.Linf(0.2)).noise.max() > found.noise.max()


def test_intervals_and_asymmetry_are_those_of_the_counts():
    found = matrix()
    assert found.intervals[0, 1].tolist() == list(interval(int(found.wrong[0, 1]), int(found.of[0, 1])))
    rates = found.rates
    gaps = [abs(float(rates[i, j] - rates[j, i])) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert found.asymmetry == pytest.approx(sum(gaps) / 3)
    assert found.one_way()[0][2] == pytest.approx(max(gaps))
    source, target = ("abc".index(name) for name in found.one_way()[0][:2])
    assert rates[source, target] > rates[target, source]
    assert found.transfer == pytest.approx(float(rates[~torch.eye(3, dtype=torch.bool)].mean()))


def test_pairs_beyond_their_intervals():
    """An attack that breaks both of two equal models, and one that breaks neither: 60 of 60 against 0 of 60."""
    models = {"sharp": MODELS["a"], "dull": MODELS["a"]}
    attacks = {"sharp": st.FGSM(), "dull": Nothing()}
    found = matrix(models, labels=(MODELS["a"](X)[:, 1] > 0).long(), attack=attacks, threat=st.Linf(0.2))
    assert found.one_way() == [("sharp", "dull", 1.0, True)]
    assert found.asymmetry == 1.0
    assert "sharp: FGSM(); dull: Nothing()" in found.attack
    assert "sharp to dull, 100.0 points" in str(found)


def test_sources_may_be_few_and_targets_without_gradient():
    models = {**MODELS, "labels": st.labels_only(MODELS["b"])}
    found = matrix(models, sources=["b", "a"])
    assert found.sources == ("b", "a")
    assert found.targets == ("a", "b", "c", "labels")
    assert torch.equal(found.wrong[:, 1], found.wrong[:, 3])
    assert found.own.tolist() == [[False, True, False, False], [True, False, False, False]]
    assert matrix(sources=["a"]).asymmetry != matrix(sources=["a"]).asymmetry  # no pair, no number


def test_where_no_input_counts_there_is_no_rate():
    found = matrix(labels=1 - (MODELS["a"](X)[:, 1] > 0).long())
    assert found.of[0].tolist() == [0, 0, 0]
    assert found.rates[0].isnan().all()
    assert "-" in str(found).splitlines()[5]
    assert math.isfinite(found.transfer)
    assert [pair[:2] for pair in found.one_way()] in ([("b", "c")], [("c", "b")])
    assert found.summary()["cells"][0]["of"] == 0


def test_the_text_names_everything():
    found = matrix()
    text = str(found)
    for words in ("FGSM()", "Linf(eps=0.02)", "source and target", "made against", "random change", "by chance"):
        assert words in text
    line = next(line for line in text.splitlines() if line.startswith("b "))
    assert line.split()[1:] == [f"{100 * rate:.1f}" for rate in found.rates[1].tolist()]
    assert max(map(len, text.splitlines())) <= 100


def test_long_names_become_numbers():
    long = {f"{name}, a model with a long name": model for name, model in MODELS.items()}
    lines = str(matrix(long)).splitlines()
    head = next(line for line in lines if line.startswith("made against"))
    assert head.split() == ["made", "against", "1", "2", "3"]
    assert "3 c, a model with a long name" in "\n".join(lines)


def test_figures_for_json():
    found = matrix()
    told = json.loads(json.dumps(found.summary()))
    cell = told["cells"][1]
    assert (cell["source"], cell["target"], cell["count"]) == ("a", "b", int(found.wrong[0, 1]))
    assert cell["low"] < cell["share"] < cell["high"]
    assert told["noise"][2]["of"] == int(found.noise_of[2])


def test_the_picture(tmp_path):
    matrix().draw(tmp_path / "matrix.png")
    picture = Image.open(tmp_path / "matrix.png").convert("RGB")
    assert min(picture.size) > 600
    colours = {colour for _, colour in picture.getcolors(1 << 24)}
    assert any(blue > red + 60 for red, _, blue in colours)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"over": "none"}, "over is 'none'"),
        ({"sources": ["d"]}, "not among the models"),
        ({"sources": []}, "a source are needed"),
        ({"models": {"a": MODELS["a"]}}, "two models"),
        ({"attack": {"a": st.FGSM()}}, "no attack was given for b, c"),
        ({"labels": LABELS[:3]}, "labels have shape"),
        ({"models": {**MODELS, "d": st.scores_only(MODELS["b"])}}, "carry no gradient"),
    ],
)
def test_what_cannot_be_meant(options, words):
    with pytest.raises(UserError, match=words):
        matrix(**options)
