"""The networks for pictures of 32 x 32."""

import pytest
import torch
import torch.nn.functional as F

from struthio import UserError
from struthio.zoo.cifar import PreActBlock, preact_resnet18, wide_resnet


def weights(net):
    return sum(part.numel() for part in net.parameters())


def test_the_published_sizes():
    assert weights(preact_resnet18()) == 11_171_146 + 1_024  # and the batch-norm before the classifier
    assert weights(wide_resnet(16, 1)) == 175_066
    assert weights(wide_resnet(28, 10)) == pytest.approx(36.5e6, rel=1e-3)  # table 1 of Zagoruyko and Komodakis


def test_logits_of_any_side():
    net = wide_resnet(10, 1, classes=7).eval()
    assert net(torch.rand(2, 3, 32, 32)).shape == (2, 7)
    assert net(torch.rand(1, 3, 20, 20)).shape == (1, 7)


def test_a_block_is_the_paper_s():
    torch.manual_seed(0)
    block, x = PreActBlock(4, 8, 2).eval(), torch.randn(2, 4, 6, 6)
    seen = F.relu(F.batch_norm(x, torch.zeros(4), torch.ones(4)))
    inner = F.relu(F.batch_norm(F.conv2d(seen, block.conv1.weight, None, 2, 1), torch.zeros(8), torch.ones(8)))
    expected = F.conv2d(inner, block.conv2.weight, None, 1, 1) + F.conv2d(seen, block.shortcut.weight, None, 2)
    torch.testing.assert_close(block(x), expected)


def test_a_depth_that_is_none():
    with pytest.raises(UserError, match=r"6 n \+ 4"):
        wide_resnet(17)
