"""Every device gives the same random numbers and, to rounding, the same answers."""

import pytest
import torch

import struthio as st
from struthio.attacks.registry import ATTACKS, attack_class
from struthio.defenses.registry import DEFENSES, defense_class
from struthio.detectors.registry import DETECTORS, detector_class
from struthio.testing import small_inputs, small_net
from struthio.testing.detectors import small
from struthio.testing.recipe_bench import Bench, network
from struthio.testing.settings import in_another_box, masked, norms_of, quick
from struthio.train.registry import RECIPES
from tests.contract.test_defenses import AROUND
from tests.contract.test_detectors import QUICK
from tests.contract.test_recipes import example
from tests.elsewhere import Away, elsewhere, moved

on_a_card = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics processor here")
ONE_OF_A_KIND = ("pgd", "apgd-t", "ddn", "square", "hop-skip-jump")  # one for each loop; `make papers` tries them all
UNSEEN = {"free-at", "spectral"}  # a hook of the backward pass, and autocast, know nothing of what is pretended


def alike_elsewhere(name, settings):
    """An attack mixes no devices, and finds the same on the other."""
    attack = quick(attack_class(name)())
    for setting in settings(norms_of(attack)):
        here = setting.run(attack)
        with elsewhere():
            there = moved(setting).run(moved(attack))
        assert isinstance(there.x_adv, Away), setting.name
        torch.testing.assert_close(there.x_adv.inner, here.x_adv, atol=1e-6, rtol=0)
        assert torch.equal(there.success.inner, here.success), setting.name


@pytest.mark.parametrize("name", ONE_OF_A_KIND)
def test_no_attack_mixes_devices(name):
    alike_elsewhere(name, lambda norms: [in_another_box(norms[0])])


@pytest.mark.slow
@pytest.mark.parametrize("name", ATTACKS)
def test_no_attack_mixes_devices_in_any_norm(name):
    alike_elsewhere(name, lambda norms: [*map(in_another_box, norms), *masked(norms[:1])])


@pytest.mark.slow
@pytest.mark.parametrize("name", DEFENSES)
def test_no_defense_mixes_devices(name):
    kind = AROUND.get(name, defense_class(name))
    model, x = getattr(kind, "around", kind)(small_net()), small_inputs(6)
    torch.manual_seed(1)
    here = model(x).detach()
    with elsewhere():
        torch.manual_seed(1)
        there = moved(model)(Away(x)).detach()
        assert isinstance(there, Away)
    torch.testing.assert_close(there.inner, here)


@pytest.mark.slow
@pytest.mark.parametrize("name", DETECTORS)
def test_no_detector_mixes_devices(name):
    rows, detector = small(), QUICK.get(name, detector_class(name))()
    with elsewhere():
        net, x, y, x_adv = (moved(part) for part in (rows.net, rows.x, rows.y, rows.x_adv))
        detector.fit(net, x, y, x_adv if detector.supervised else None, 0).calibrate(moved(rows.apart), 0.05, 0)
        assert isinstance(detector.score(x[:20]), Away)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(RECIPES) - UNSEEN))
def test_no_recipe_mixes_devices(name, stored):
    recipe, _ = example(name, stored)
    here = Bench(recipe)
    with elsewhere():
        there = Bench(recipe)
        there.x, there.y, there.model = (moved(part) for part in (here.x, here.y, network().double()))
        there.kept.clear()
        there.trained = there.recipe.prepare(there.model).train()
        there.numbers = lambda step: moved(here.numbers(step))
        loss, _ = there.slopes()
        assert isinstance(loss, Away)


def test_a_mix_is_refused():
    here = torch.ones(3)
    with elsewhere():
        there = Away(here)
        for mix in (lambda: here + there, lambda: here[there > 0], lambda: torch.where(there > 0, here, 0.0)):
            with pytest.raises(RuntimeError, match="processor|device"):
                mix()
        with pytest.raises(TypeError, match="cpu"):
            there.numpy()
        assert torch.equal(there.cpu() + here, 2 * here)
        assert isinstance(torch.zeros(3, device=there.device) + there, Away)


@on_a_card
def test_random_numbers():
    here = st.RowGenerator.seeded(3, torch.arange(5))
    there = st.RowGenerator.seeded(3, torch.arange(5)).to("cuda")
    for name in ("uniform", "normal", "exponential"):
        torch.testing.assert_close(getattr(there, name)((7,)).cpu(), getattr(here, name)((7,)))
    assert torch.equal(there.fold(2).keys.cpu(), here.fold(2).keys)


@on_a_card
@pytest.mark.parametrize("attack", [st.FGSM(), st.PGD(steps=5), st.MIFGSM(steps=5), st.APGD(steps=5)])
@pytest.mark.parametrize("threat", [st.Linf(8 / 255), st.L2(0.3), st.Levels(st.L2(0.3))])
def test_attacks(attack, threat):
    net, x = small_net(8), small_inputs(8, 8)
    labels = net(x).argmax(1)
    before = torch.cuda.get_rng_state()
    here = attack(net, x, st.Untargeted(labels), threat)
    there = attack(small_net(8).cuda(), x.cuda(), st.Untargeted(labels.cuda()), threat)
    assert there.x_adv.is_cuda
    torch.testing.assert_close(there.x_adv.cpu(), here.x_adv, atol=1e-6, rtol=0)
    assert torch.equal(there.success.cpu(), here.success)
    assert torch.equal(torch.cuda.get_rng_state(), before)
