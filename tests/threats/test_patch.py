"""Patches: the promises of every threat, sizes by hand, and the rectangle that is best, against all of them in turn."""

import itertools

import pytest
import torch

import struthio as st
from struthio.testing import linear_model, small_inputs, threat_promises

THREATS = {
    "anywhere": st.Patch(3),
    "oblong": st.Patch(2, 5),
    "in its place": st.Patch(3, 2, (4, 1)),
    "half of its place": st.Patch(4, 4, (2, 2), 0.5),
    "without limits": st.Patch(3, box=None),
    "a share a row": st.Patch(2, 3, eps=torch.linspace(0.5, 2.5, 8)),
    "masked": st.Masked(st.Patch(3), torch.rand(3, 8, 8, generator=torch.Generator().manual_seed(0)) < 0.6),
    "on levels": st.Levels(st.Patch(3)),
}


@pytest.mark.parametrize("promise", threat_promises(), ids=lambda promise: promise.__name__)
@pytest.mark.parametrize("name", THREATS)
def test_promises(name, promise):
    promise(THREATS[name], small_inputs())


def windows(high, wide, h=8, w=8):
    """Every rectangle of this size, as bool [h, w]."""
    for top, left in itertools.product(range(h - high + 1), range(w - wide + 1)):
        mask = torch.zeros(h, w, dtype=torch.bool)
        mask[top : top + high, left : left + wide] = True
        yield mask


@pytest.mark.parametrize(("high", "wide"), [(1, 1), (3, 3), (2, 5), (8, 8)])
def test_the_projection_is_the_nearest_of_all_rectangles(high, wide):
    x, wild = small_inputs(), 0.6 * torch.randn(8, 3, 8, 8, generator=torch.Generator().manual_seed(1)).double()
    z = st.Patch(high, wide).project(x, wild)
    allowed = [((x + wild * mask).clamp(0, 1) - x) * mask for mask in windows(high, wide)]
    nearest = torch.stack([(one - wild).flatten(1).norm(dim=1) for one in allowed]).amin(0)
    torch.testing.assert_close((z - wild).flatten(1).norm(dim=1), nearest)


def test_one_step_is_the_best_patch_on_a_linear_model():
    """No place and no content raises the score of a class more than FGSM's, and at a place named, than its content."""
    model, x = linear_model(3 * 64, classes=2), small_inputs()
    with torch.no_grad():
        labels = model(x).argmax(1)
        slope = (model.weight[1 - labels] - model.weight[labels]).reshape(x.shape)
    gain = (slope * torch.where(slope > 0, 1 - x, -x)).sum(1)
    best = torch.stack([(gain * mask).flatten(1).sum(1) for mask in windows(2, 3)]).amax(0)
    found = st.FGSM(loss=st.Margin())(model, x, st.Untargeted(labels), st.Patch(2, 3))
    torch.testing.assert_close((slope * (found.x_adv - x)).flatten(1).sum(1), best)
    here = st.PGD(loss=st.Margin(), keep="best")(model, x, st.Untargeted(labels), st.Patch(2, 3, (1, 4)))
    torch.testing.assert_close((slope * (here.x_adv - x)).flatten(1).sum(1), gain[:, 1:3, 4:7].flatten(1).sum(1))


def test_sizes():
    x = torch.zeros(4, 1, 8, 8)
    x_adv = x.clone()
    x_adv[1, 0, 2, 3] = 1
    x_adv[2, 0, 1, 1] = x_adv[2, 0, 4, 2] = 1  # four lines, two columns
    x_adv[3, 0, 0, 0] = x_adv[3, 0, 7, 7] = 1
    threat = st.Patch(4, 2)
    assert threat.size(x, x_adv).tolist() == [0, 0.5, 1, 4]
    assert threat.allows(x, x_adv).tolist() == [True, True, True, False]
    assert threat.farthest(x).tolist() == [4] * 4
    assert st.Patch(4, 2, (1, 1)).size(x, x_adv).tolist() == [0, torch.inf, 1, torch.inf]
    assert st.Patch(4, 2, (1, 1)).farthest(x).tolist() == [1] * 4


def test_every_place_is_drawn():
    x = torch.full((2000, 1, 4, 4), 0.5)
    threat, generator = st.Patch(2), st.RowGenerator.seeded(0, torch.arange(2000))
    changed = (threat.sample(x, generator) != 0).flatten(1)
    assert len(changed.unique(dim=0)) == 9
    assert changed.sum(1).eq(4).all()
    middle = changed.reshape(-1, 4, 4)[:, 1:3, 1:3].all(2).all(1).double().mean()
    assert middle.item() == pytest.approx(1 / 9, abs=0.03)


def test_a_patch_begun_stays_where_it_is():
    """Steps add to the rectangle; a smaller change leaves a choice of the rectangles around it."""
    x, threat = torch.full((1, 1, 6, 6), 0.5), st.Patch(2)
    z = torch.zeros_like(x)
    z[0, 0, 3, 3] = 0.1
    grad = torch.ones_like(x)
    grad[0, 0, 2, 4] = grad[0, 0, 0, 0] = 9
    assert threat.useful(x, z, grad)[0, 0].nonzero().amin(0).tolist() == [2, 2]
    assert threat.useful(x, z, grad)[0, 0].nonzero().amax(0).tolist() == [4, 4]
    step = threat.steepest(x, z, grad)[0, 0]
    assert step.nonzero().tolist() == [[2, 3], [2, 4], [3, 3], [3, 4]]


@pytest.mark.parametrize("attack", [st.PGD(steps=20), st.APGD(steps=20), st.RandomSearch(queries=100)])
def test_attacks_change_the_place_named_and_nothing_else(attack):
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(20)))
    threat = st.Patch(9, 9, (9, 9))
    result = attack(model, x, st.Untargeted(y), threat)
    moved = (result.x_adv != x).clone()
    moved[..., 9:18, 9:18] = False
    assert not moved.any()
    assert result.success.sum() >= 10
    assert threat.allows(x, result.x_adv).all()


def test_the_smallest_patch():
    model = st.load("zoo:digits-cnn")
    _, x, y = next(iter(st.load_data("data:digits").batches(10)))
    result = st.SmallestRadius(st.PGD(steps=5), steps=4, first=1 / 8)(model, x, st.Untargeted(y), st.Patch(28))
    assert result.success.all()
    side = result.size * 28
    torch.testing.assert_close(side, side.round())
    assert 2 <= side.median() <= 12


def test_texts():
    assert st.threat("patch:5x7") == st.Patch(5, 7)
    assert st.threat("Patch:5") == st.Patch(5, 5)
    assert st.threat("patch:5x7@0,10") == st.Patch(5, 7, (0, 10))
    for wrong in ("patch", "patch:", "patch:5x", "patch:5x5x5", "patch:5.5", "patch:5@3", "patch:5@a,b", "patch:0"):
        with pytest.raises(st.UserError):
            st.threat(wrong)


def test_what_cannot_be_meant():
    for wrong in (
        {"height": 0},
        {"height": 2, "width": 1.5},
        {"height": 2, "place": (-1, 0)},
        {"height": 2, "place": (1.5, 0)},
        {"height": 2, "eps": -1},
    ):
        with pytest.raises(st.UserError):
            st.Patch(**wrong)
    x = small_inputs()
    for threat in (st.Patch(9), st.Patch(3, place=(6, 0)), st.Patch(3, place=(0, 6)), st.Patch(3, eps=torch.ones(3))):
        with pytest.raises(st.UserError):
            threat.check(x)
    with pytest.raises(st.UserError, match="pictures"):
        st.Patch(2).check(torch.rand(2, 5))
    for attack in (st.Square(), st.HopSkipJump(), st.DDN(), st.SpatialSearch()):
        with pytest.raises(st.UserError, match="threat is patch"):
            attack(lambda x: x.flatten(1)[:, :2], x, st.Untargeted(torch.zeros(8).long()), st.Patch(2))
