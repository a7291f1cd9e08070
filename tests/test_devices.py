"""Every device gives the same random numbers and, to rounding, the same answers."""

import pytest
import torch

import struthio as st
from struthio.testing import small_inputs, small_net

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no graphics processor here")


def test_random_numbers():
    here = st.RowGenerator.seeded(3, torch.arange(5))
    there = st.RowGenerator.seeded(3, torch.arange(5)).to("cuda")
    for name in ("uniform", "normal", "exponential"):
        torch.testing.assert_close(getattr(there, name)((7,)).cpu(), getattr(here, name)((7,)))
    assert torch.equal(there.fold(2).keys.cpu(), here.fold(2).keys)


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
