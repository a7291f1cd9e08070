"""Trained defences: closed forms, invariances, and what training leaves alone."""

import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from struthio.checks import UserError
from struthio.defenses.autoencoder import DenoisingAutoencoder
from struthio.defenses.defense_gan import DefenseGAN
from struthio.defenses.ensembles import Average, Ensemble, Vote, kappa, most_diverse
from struthio.defenses.hgd import HGD
from struthio.defenses.magnet import Reformer
from struthio.defenses.modef import MODEF, Verdict
from struthio.defenses.nearest import NearestNeighbours
from struthio.defenses.rbf import RBF
from struthio.defenses.training import Course, train
from struthio.testing.traces import changed, snapshot

SHORT = Course(epochs=2, batch_size=8)


@pytest.fixture
def x():
    return torch.rand(24, 1, 9, 7, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def y():
    return torch.arange(24) % 5


def linear(classes=5, seed=0):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return nn.Sequential(nn.Flatten(), nn.Linear(63, classes)).eval()


def small_gan():
    return DefenseGAN(side=7, latent=3, width=2, steps=2, restarts=2)


def denoiser():
    return HGD(widths=(2, 3))


MODEL = linear()
FITTED = {
    "autoencoder": (lambda: DenoisingAutoencoder(width=3), lambda d, x, y, c: d.fit(x, x.flip(0), course=c)),
    "reformer": (lambda: Reformer(structure=(3, "average", 2)), lambda d, x, y, c: d.fit(x, course=c)),
    "pixel": (denoiser, lambda d, x, y, c: d.fit(MODEL, x, x.flip(0), guide="pixel", course=c)),
    "logit": (denoiser, lambda d, x, y, c: d.fit(MODEL, x, x.flip(0), course=c)),
    "class": (denoiser, lambda d, x, y, c: d.fit(MODEL, x, x.flip(0), y, guide="class", course=c)),
    "rbf": (lambda: RBF(63, 5), lambda d, x, y, c: d.fit(x, y, course=c)),
    "ensemble": (lambda: Ensemble([linear(), linear(seed=1)]), lambda d, x, y, c: d.fit(x, y, course=c)),
    "modef": (lambda: MODEF(MODEL, None, [linear(seed=1)]), lambda d, x, y, c: d.fit(x, y, course=c)),
    "gan": (small_gan, lambda d, x, y, c: d.fit(x[:, :, :7], critics=2, course=c)),
}


@pytest.mark.parametrize(("make", "fit"), FITTED.values(), ids=FITTED)
def test_the_same_seed_trains_the_same_weights_and_leaves_no_trace(make, fit, x, y):
    defenses = [make() for _ in range(3)]
    before = snapshot(MODEL, x, y)
    for defense, seed in zip(defenses, (0, 0, 5), strict=True):
        fit(defense, x, y, Course(epochs=2, batch_size=8, seed=seed))
    assert not changed(before, snapshot(MODEL, x, y))
    weights = [defense.state_dict() for defense in defenses]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())
    assert any(not torch.equal(value, weights[2][name]) for name, value in weights[0].items())
    assert not any(part.training for part in defenses[0].modules())


def test_a_classifier_that_guides_is_left_as_it_was(x):
    model = nn.Sequential(nn.BatchNorm2d(1), nn.Dropout(0.5), linear())
    model[2].eval()
    defense = HGD(widths=(2, 3))
    before = snapshot(model, x)
    defense.fit(model, x, x.flip(0), guide="feature", layer="0", course=SHORT)
    assert not changed(before, snapshot(model, x))


def test_training_goes_down_and_tells_where_it_stands(x):
    heard = []
    DenoisingAutoencoder(width=4).fit(x, course=Course(epochs=8, batch_size=6, lr=1e-2), progress=heard.append)
    assert [epoch.number for epoch in heard] == list(range(1, 9))
    assert heard[-1].loss < heard[0].loss


def test_a_loss_that_is_no_number_is_told(x):
    with pytest.raises(UserError, match="loss is nan in pass 1"):
        train(nn.Linear(1, 1), lambda rows: rows.sum() * torch.nan, [x], SHORT)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda x, y: DenoisingAutoencoder().fit(x, x[:3]), "Give row for row"),
        (lambda x, y: HGD().fit(linear(), x, x, guide="class"), "needs the classes"),
        (lambda x, y: HGD().fit(linear(), x, x, guide="feature", layer="7"), "needs the name of a part"),
        (lambda x, y: HGD().fit(linear(), x, x, guide="colour"), "must be one of"),
        (lambda x, y: Reformer(structure=("max",)), "'average'"),
        (lambda x, y: NearestNeighbours(classes=3).fit(x, y), "classes 0 to 2"),
        (lambda x, y: NearestNeighbours(features=5)(x), "rows have 63 values"),
        (lambda x, y: RBF(63, 7).fit(x, y), "missing: .5, 6."),
        (lambda x, y: DefenseGAN()(x), "makes pictures of shape"),
        (lambda x, y: Ensemble([]), "at least one member"),
        (lambda x, y: MODEF(linear(), [nn.Identity()]).fit(x, y), "train it by itself"),
        (lambda x, y: most_diverse(torch.zeros(2, 3, dtype=torch.int64), 3), "3 of 2 members"),
    ],
)
def test_what_cannot_be_meant_is_refused(make, match, x, y):
    with pytest.raises(UserError, match=match):
        make(x, y)


def test_hgd_without_change_is_the_identity_and_pixels_count_the_change(x):
    defense = HGD(widths=(2, 3)).eval()
    nn.init.zeros_(defense.net.last.weight)
    nn.init.constant_(defense.net.last.bias, 0.25)
    torch.testing.assert_close(defense(x), x + 0.25)


def test_a_pixel_guide_learns_to_take_a_constant_away(x):
    defense = HGD(widths=(4, 4)).fit(
        linear(), x * 0 + 0.2, x * 0 + 0.7, guide="pixel", course=Course(epochs=20, batch_size=8, lr=2e-2)
    )
    assert float((defense(x * 0 + 0.7) - 0.2).detach().abs().mean()) < 0.1


def test_a_reformer_has_the_published_structure():
    """Two ways of convolutions of three channels, as in Meng and Chen's tables; parameters counted by hand."""
    one, two = Reformer(structure=(3, "average", 3)), Reformer(structure=(3,), activation="sigmoid")
    conv = 3 * 3 * 3 * 3 + 3
    assert sum(p.numel() for p in one.parameters()) == (27 + 3) + 3 * conv + (27 + 1)
    assert sum(p.numel() for p in two.parameters()) == (27 + 3) + conv + (27 + 1)


def test_neighbours_vote_as_a_loop_would(x, y):
    test = torch.rand(11, 1, 9, 7, generator=torch.Generator().manual_seed(1))
    for k in (1, 3, 4):
        defense = NearestNeighbours(k, classes=5).fit(x, y)
        for row, out in zip(test, defense(test), strict=True):
            near = y[(x - row).flatten(1).norm(dim=1).argsort()[:k]]
            votes = F.one_hot(near, 5).sum(0)
            assert torch.equal(out.floor().long(), votes)
            assert votes[out.argmax()] == votes.max()


def test_soft_neighbours_are_the_nearest_ones_when_cold(x, y):
    cold = NearestNeighbours(1, classes=5, temperature=1e-4).fit(x, y)
    assert torch.equal(cold.stand_in(x * 0.9).argmax(1), cold(x * 0.9).argmax(1))
    assert cold(x.clone().requires_grad_()).requires_grad is False


def test_stored_neighbours_come_back(x, y):
    defense = NearestNeighbours(classes=5).fit(x, y)
    again = NearestNeighbours(classes=5)
    again.load_state_dict(defense.state_dict())
    assert torch.equal(again(x), defense(x))


def test_rbf_is_the_formula_and_unsure_far_away(x, y):
    defense = RBF(63, 5).double()
    flat, a = x.double().flatten(1), F.softplus(defense.raw)
    wanted = -(a * (flat[:, None] - defense.centres).square()).sum(2)
    torch.testing.assert_close(defense(x.double()), wanted)
    near = defense.centres.detach()
    torch.testing.assert_close(defense.confidence(near), torch.ones(5, dtype=torch.float64))
    assert defense.confidence(near + 100).max() < 1e-12


def test_average_and_votes_in_closed_form():
    p = torch.tensor([[[0.8, 0.2], [0.4, 0.6], [0.4, 0.6]]])
    torch.testing.assert_close(Average()(p.log()), torch.tensor([[1.6, 1.4]]).div(3).log())
    torch.testing.assert_close(Vote()(p.log()), torch.tensor([[1 + 1.6 / 6, 2 + 1.4 / 6]]))
    torch.testing.assert_close(Vote().stand_in(p.log()), Average()(p.log()))
    level = torch.tensor([[[0.9, 0.1], [0.4, 0.6]]])
    assert Vote()(level.log()).argmax(1).item() == 0


@pytest.mark.parametrize(("quorum", "rejected"), [(0.5, False), (0.6, False), (0.61, True), (1.0, True)])
def test_a_verdict_rejects_below_its_quorum_exactly(quorum, rejected):
    logits = F.one_hot(torch.tensor([[2, 0, 2, 2, 1]]), 3).float()
    assert (Verdict(quorum)(logits).argmax(1).item() == 3) == rejected
    assert Verdict(quorum)(logits)[:, :3].argmax(1).item() == 2
    soft = Verdict(quorum).stand_in(logits)
    assert soft.shape == (1, 4)
    assert (soft.argmax(1).item() == 3) == (quorum > float(logits.softmax(2).mean(1).max()))


def test_kappa_by_hand_and_the_most_diverse():
    first = torch.tensor([0, 0, 0, 1, 1])
    second = torch.tensor([0, 0, 1, 1, 0])
    assert kappa(first, second) == pytest.approx((0.6 - (0.6 * 0.6 + 0.4 * 0.4)) / (1 - 0.52))
    assert kappa(first, first) == 1
    assert most_diverse(torch.stack((first, first, second)), 2) == (0, 2)


def test_every_judge_sees_what_every_denoiser_made(x):
    model, verifier = linear(), linear(seed=1)
    brighter = [nn.Identity(), nn.Softplus()]
    said = MODEF(model, brighter, [verifier]).judgements(x)
    for i, denoise in enumerate(brighter):
        for j, judge in enumerate((model, verifier)):
            torch.testing.assert_close(said[:, i, j], judge(denoise(x)))
    assert len(MODEF(model, [nn.Identity(), nn.Identity(), nn.Tanhshrink()], quorum=0.5).chosen(x, 2).denoisers) == 2


def test_a_generator_finds_what_it_made_itself():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        defense = DefenseGAN(side=8, latent=2, width=8, steps=100, restarts=8, lr=100.0).eval()
        nn.init.normal_(defense.generator.net[0].weight)  # so that what it makes is not all alike
        made = defense.generator(torch.randn(5, 2)).detach()
        off = (defense(made) - made).square().flatten(1).mean(1)
        apart = (made - made.flip(0)).square().flatten(1).mean(1)
    assert int((off < 1e-6).sum()) >= 4
    assert float(apart.max()) > 1e-4


def test_a_descent_sees_its_own_row_alone():
    defense = DefenseGAN(side=8, latent=2, width=4, steps=3, restarts=3).eval()
    x = torch.rand(2, 3, 1, 8, 8)
    x[1, 0] = x[0, 0]
    answers = []
    for rows in x:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            answers.append(defense(rows))
    torch.testing.assert_close(answers[0][0], answers[1][0])
    assert not torch.allclose(answers[0][1], answers[1][1])


def test_members_of_any_build_are_trained():
    torch.manual_seed(0)
    x, y = torch.randn(64, 1, 9, 7), torch.arange(64) % 2
    x[y == 1] += 2
    members = [linear(2), nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(70, 2))]
    for combine in ("vote", "average"):
        model = Ensemble(copy.deepcopy(members), combine).fit(x, y, course=Course(epochs=20, batch_size=16, lr=1e-2))
        assert float((model(x).argmax(1) == y).float().mean()) > 0.95
