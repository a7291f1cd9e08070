"""The search among what a generator makes: it stays within its radius, and what it finds gets through the defence."""

import torch
from torch import nn

from struthio.defenses.defense_gan import DefenseGAN
from struthio.gauntlet.manifold import along_the_manifold
from struthio.losses import Margin
from struthio.testing.traces import changed, snapshot


def small():
    """A generator of tiny pictures that differ, pictures beside them, and a linear classifier that splits them."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        defense = DefenseGAN(side=6, latent=2, width=8, steps=40, restarts=8, lr=30.0).eval()
        for layer in (0, 2, 4):
            nn.init.normal_(defense.generator.net[layer].weight, std=0.7)
        made = defense.generator(torch.randn(9, 2)).detach()
        x = (made + 0.05 * torch.randn_like(made)).clamp(0, 1)
        net = nn.Sequential(nn.Flatten(), nn.Linear(36, 3)).eval()
        net[1].bias.data -= net(x).mean(0)
    return defense, net, x, net(x).argmax(1)


def test_what_is_found_is_near_and_gets_through():
    defense, net, x, y = small()
    before = snapshot(defense, x, y)
    x_adv = along_the_manifold(defense, net, x, y, 1.0, steps=40, lr=0.1)
    assert not changed(before, snapshot(defense, x, y))
    assert float((x_adv - x).flatten(1).norm(dim=1).max()) <= 1 + 1e-5
    assert float(x_adv.min()) >= 0
    assert float(x_adv.max()) <= 1
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        plain, moved = (Margin().away(net(defense(rows)), y) for rows in (x, x_adv))
    assert int((moved > plain).sum()) >= 8
    assert int((moved > 0).sum()) >= int((plain > 0).sum()) + 2


def test_a_row_does_not_depend_on_those_after_it():
    defense, net, x, y = small()
    whole, first = (along_the_manifold(defense, net, x[:n], y[:n], 1.0, steps=5) for n in (9, 1))
    torch.testing.assert_close(whole[:1], first, rtol=1e-4, atol=1e-5)
