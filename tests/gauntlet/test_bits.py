"""The search over bits beside all bits there are, and that what is out of reach has not been reached."""

import itertools

import torch
from torch import nn

from struthio.detectors.guarded import Guarded
from struthio.detectors.squeezing import SqueezingGap
from struthio.gauntlet.bits import best_bits, movable, out_of_reach
from struthio.losses import Margin
from struthio.threats import Linf


def test_what_can_cross_the_middle():
    x = torch.tensor([[0.0, 0.19, 0.21, 0.5, 0.79, 0.81]])
    assert movable(x, 0.3).tolist() == [[False, False, True, True, True, False]]


def test_the_best_of_all_bits():
    """Ten movable values of twelve: all 1,024 settings are tried on a network of two layers."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 16), nn.ReLU(), nn.Linear(16, 4))
    x = 0.25 + 0.5 * torch.rand(16, 12)
    x[:, :2] = torch.tensor([0.0, 1.0])
    labels = net(x).argmax(1)
    every = torch.tensor(list(itertools.product((0.0, 1.0), repeat=10)))
    every = torch.cat([torch.tensor([0.0, 1.0]).expand(1024, 2), every], 1)
    exact = torch.stack([Margin().away(net(every), label.expand(1024)).max() for label in labels])
    bits, margin = best_bits(net, x, labels, 0.3)
    assert torch.equal(bits[:, :2], x[:, :2])
    assert ((bits == 0) | (bits == 1)).all()
    torch.testing.assert_close(margin, Margin().away(net(bits), labels).detach())
    torch.testing.assert_close(margin, exact.detach())


def test_what_is_out_of_reach():
    """A network that is always sure of class 0 cannot be moved; behind a line that flags nothing, that is no bound."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 2))
    nn.init.constant_(net[1].weight, 0.0)
    nn.init.constant_(net[1].bias, 0.0)
    net[1].bias.data[0] = 5.0
    x, y = torch.rand(3, 1, 4, 4), torch.zeros(3, dtype=torch.long)
    model = Guarded(net, SqueezingGap())
    for threshold, beyond in ((0.05, True), (2.0, False)):
        model.detector.threshold.fill_(threshold)
        assert out_of_reach(model, x, y, Linf(0.3)).tolist() == [beyond] * 3
