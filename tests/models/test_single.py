"""Inputs in half precision: the search is in single, and the model rounds what it gets."""

import pytest
import torch
from torch import nn

import struthio as st
from struthio.checks import UserError
from struthio.models.single import HALVES, AskedInSingle


def linear(scale: float = 1.0) -> nn.Module:
    """Class 1 is ahead of class 0 where the mean of the four values is above a half."""
    net = nn.Sequential(nn.Flatten(), nn.Linear(4, 2))
    with torch.no_grad():
        net[1].weight.copy_(scale * torch.tensor([[-1.0], [1.0]]).expand(2, 4))
        net[1].bias.copy_(scale * torch.tensor([2.0, -2.0]))
    return net.eval()


@pytest.mark.parametrize("dtype", HALVES)
@pytest.mark.parametrize(
    "attack", [st.FGSM(), st.PGD(steps=3), st.APGD(steps=3), st.Square(30)], ids=lambda a: type(a).__name__
)
def test_no_change_leaves_the_ball_by_rounding(attack, dtype):
    x = torch.full((3, 1, 2, 2), 0.7, dtype=dtype)
    result = attack(linear().to(dtype), x, st.Untargeted(torch.ones(3, dtype=torch.int64)), st.Linf(0.23))
    assert result.success.all()
    assert result.x_adv.dtype == torch.float32
    assert (result.x_adv - x.float()).abs().max() <= 0.23 + 1e-6


def test_a_sure_row_has_a_slope_in_float16():
    """The wrong class has a probability of some 1e-11 here, which float16 rounds to nothing on the way back."""
    net, x, y = linear(16.0).half(), torch.full((2, 1, 2, 2), 0.7).half(), torch.ones(2, dtype=torch.int64)
    assert st.PGD(steps=5)(net, x, st.Untargeted(y), st.Linf(0.25)).success.all()


def test_the_slope_is_that_of_the_model_in_single():
    x = torch.rand(3, 1, 2, 2, generator=torch.Generator().manual_seed(0)).requires_grad_()
    labels = torch.tensor([0, 1, 0])
    slopes = [
        torch.autograd.grad(nn.functional.cross_entropy(net(x), labels, reduction="sum"), x)[0]
        for net in (linear(), AskedInSingle(linear().half(), torch.float16))
    ]
    assert torch.allclose(*slopes, rtol=0.01)


def test_a_prepared_model_is_asked_as_it_was_given():
    net = linear().bfloat16()
    x, y = torch.full((2, 1, 2, 2), 0.7).bfloat16(), torch.ones(2, dtype=torch.int64)
    assert st.FGSM()(st.prepare(net, x), x, st.Untargeted(y), st.Linf(0.25)).success.all()


def test_an_audit_says_how_it_takes_such_a_model():
    net, x, y = linear().half(), torch.full((4, 1, 2, 2), 0.7), torch.ones(4, dtype=torch.int64)
    with pytest.raises(UserError, match="AskedInSingle"):
        st.audit(net, (x.half(), y), "linf:0.25")
    with pytest.raises(UserError, match="AskedInSingle"):
        st.audit(net, (x, y), "linf:0.25")
    found = st.audit(AskedInSingle(net, torch.float16), (x, y), "linf:0.25", level="quick", certify="none")
    assert found.at_most.count == 0


def test_the_parts_of_the_model_keep_their_modes():
    net = nn.Sequential(linear().half(), nn.Dropout()).eval()
    net[1].train()
    asked = AskedInSingle(net, torch.float16)
    assert (asked.training, net.training, net[1].training) == (False, False, True)
