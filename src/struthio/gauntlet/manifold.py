"""Defense-GAN from within: a search among what its generator makes, each find carried over to the picture itself."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio import checks
from struthio.defenses.defense_gan import DefenseGAN
from struthio.losses import Margin
from struthio.put_back import seeded
from struthio.rows import norm, per_row, where_rows
from struthio.types import Model

SURE = 5.0  # a margin beyond which a row need not be any more wrong
OUTSIDE = 5.0  # the price of a unit of length beyond eps, in units of the margin


def along_the_manifold(
    defense: DefenseGAN,
    model: Model,
    x: Tensor,
    labels: Tensor,
    eps: float,
    *,
    steps: int = 300,
    lr: float = 0.02,
    seed: int = 0,
) -> Tensor:
    """Pictures within eps in L2 that the defence takes for others than they were.

    Athalye, Carlini and Wagner, 2018, arXiv 1802.00420, change the latent vector in place of the picture: what the
    generator makes is its own nearest picture, so that the descent is nothing to go through. What a small generator
    makes is itself far from the picture, and so only the difference is carried over: x_adv = x + G(z) - G(z0), where z0
    is what the defence finds for x. The search is Adam on the margin of the model at G(z), with a price on a difference
    longer than eps; the best one on the way is kept, cut to eps.

    Args:
        defense: with a trained generator; neither it nor torch's random state is changed.
        model: what stands behind the defence, from pictures to logits.
        x: pictures [n, channels, side, side] in [0, 1].
        labels: their classes, int64 [n].
        eps: the length of the change, in L2.
        steps: of Adam.
        lr: its step.
        seed: of the defence's starts.

    Returns:
        The changed pictures in [0, 1]. Judge them on the defence as it is, by most of some draws.
    """
    checks.positive(eps, "eps")
    checks.count(steps, "steps")
    checks.positive(lr, "lr")
    with seeded(seed):
        z = defense.invert(x).clone().requires_grad_()
    with torch.no_grad():
        start = defense.generator(z)
    found, highest = x, torch.full((len(x),), -torch.inf).to(x)
    optimizer = torch.optim.Adam([z], lr)
    for _ in range(steps):
        with torch.enable_grad():
            made = defense.generator(z)
            length = norm(made - start, 2)
            price = OUTSIDE * (length - eps).clamp(min=0) - Margin().away(model(made), labels).clamp(max=SURE)
            (z.grad,) = torch.autograd.grad(price.sum(), z)
        with torch.no_grad():
            change = (made - start) * per_row(eps / length.clamp(min=eps), made)
            margin = Margin().away(model(start + change), labels)
        better = margin > highest
        found, highest = where_rows(better, (x + change).clamp(0, 1), found), margin.maximum(highest)
        optimizer.step()
    return found
