"""PGD adversarial training: the paper's inner loop written out, and its loss."""

import torch
import torch.nn.functional as F

import struthio as st
from struthio.testing import small_inputs, small_net
from struthio.testing.recipe_bench import network
from struthio.train.pgd_at import PGDAT
from tests.train.steps import moment


def test_agrees_with_the_inner_loop_written_out():
    model, x, y, eps = network(), small_inputs(8), torch.arange(8) % 5, 0.1
    z = st.Linf(eps).sample(x, moment(8).generator)
    model.eval()
    for _ in range(7):
        near = (x + z).requires_grad_()
        (grad,) = torch.autograd.grad(F.cross_entropy(model(near), y), near)
        z = (x + (z + eps / 4 * grad.sign()).clamp(-eps, eps)).clamp(0, 1) - x
    wanted = F.cross_entropy(model.train()(x + z), y)
    assert torch.allclose(PGDAT(st.Linf(eps))(network(), x, y, moment(8)), wanted, rtol=1e-10)


def test_another_threat_and_attack():
    model, x, y = small_net().train(), small_inputs(8), torch.arange(8) % 5
    recipe = PGDAT(st.L2(0.5), attack=st.APGD(steps=5, keep="best"))
    size = st.L2(0.5).size(x, recipe.perturb(model, x, y, moment(8)))
    assert size.max() <= 0.5 + 1e-9
    assert size.min() > 0.4
