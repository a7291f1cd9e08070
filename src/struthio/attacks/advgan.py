"""AdvGAN: train a generator whose changes win, stay small, and cannot be told from real pictures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.ascend import check_finite
from struthio.attacks.base import no_trace
from struthio.attacks.generative import Generative
from struthio.attacks.generator import Discriminator, PerturbationNet
from struthio.attacks.shared import Batches, chunks
from struthio.checks import UserError
from struthio.goals import Drift, Targeted
from struthio.losses import Margin
from struthio.rows import RowGenerator, norm, per_row, straight_through
from struthio.threats import Levels, Masked
from struthio.types import Goal, Loss, Model, Threat


@dataclass(frozen=True)
class Epoch:
    """How training stands after a pass over all rows; means over its batches.

    Attributes:
        number: of passes done.
        success: the share of rows that were won as they were seen.
        adversarial: L_adv, 0 where all rows are won by kappa.
        gan: L_GAN, how far the discriminator is from taking changed pictures for real, as a mean square.
        size: the mean L2 norm of the changes.
    """

    number: int
    success: float
    adversarial: float
    gan: float
    size: float


@dataclass(frozen=True)
class AdvGAN:
    """Trains a generator G and a discriminator D: L = L_adv + alpha L_GAN + beta max(0, ||G(x)||_2 - c), row means.

    L_adv is the margin of Carlini and Wagner, L_GAN a least-squares one (the paper's text; it prints no weights). The
    change is projected into the threat before the model and D see it. What comes out is an attack:

        forger = AdvGAN().fit(model, data.batches, Linf(0.3))
        result = forger(model, x, Untargeted(labels), Linf(0.3))

    Args:
        epochs: passes over all rows.
        alpha: the weight of looking real.
        beta: the weight of the norm above `c`.
        c: the L2 norm of a change that costs nothing.
        kappa: by what margin a row is to be won.
        lr: the learning rate of both networks, by Adam.
        width: channels of the first convolution of both networks.
        blocks: residual blocks of the generator.
        batch_size: rows a step.
        loss: what the model's outputs are to increase, up to kappa.
    """

    paper: ClassVar[str] = Generative.paper

    epochs: int = 10
    alpha: float = 0.1
    beta: float = 0.1
    c: float = 1.0
    kappa: float = 1.0
    lr: float = 2e-3
    width: int = 8
    blocks: int = 4
    batch_size: int = 64
    loss: Loss = field(default_factory=Margin)

    def __post_init__(self) -> None:
        for name in ("epochs", "width", "blocks", "batch_size"):
            checks.count(getattr(self, name), name)
        for name in ("alpha", "beta", "c", "kappa"):
            checks.not_negative(getattr(self, name), name)
        checks.positive(self.lr, "lr")

    def fit(
        self,
        model: Model,
        batches: Batches,
        threat: Threat,
        *,
        target: int | None = None,
        seed: int = 0,
        progress: Callable[[Epoch], None] | None = None,
    ) -> Generative:
        """Train on rows that need no labels, in memory that does not grow with their number.

        Args:
            model: from a batch of pictures to logits, in evaluation mode, with its normalisation inside.
            batches: from a batch size, the batches (ids [b], x [b, channels, h, w], labels [b]) of a data set, such as
                `data.batches`; or any iterable of them that can be read again, in an order mixed anew if it likes.
            threat: what may change, of a finite radius that is the same for all rows.
            target: the class that all rows are to be taken for; None for any but the model's own.
            seed: of the first weights.
            progress: called after each pass with an `Epoch`.

        Raises:
            UserError: where an argument cannot be meant, or the model passes no gradient.
        """
        checks.norm_known(getattr(threat, "norm", None), Generative.norms, type(self).__name__)
        check_finite(threat)
        checks.mode(getattr(model, "original", model))
        if isinstance(threat.eps, Tensor) and threat.eps.ndim:
            raise UserError("the radius differs by row, and the generator does not know which row it sees. Name one.")
        training: _Training | None = None
        for number in range(1, self.epochs + 1):
            sums, rows = torch.zeros(4), 0
            for ids, x in chunks(batches, self.batch_size):
                threat.check(x)
                with no_trace(RowGenerator.seeded(seed, ids).fold(number)), torch.enable_grad():
                    training = training or _Training(self, x, threat)
                    sums += len(x) * training.step(model, x, _goal(model, x, target))
                rows += len(x)
            if training is None:
                raise UserError("the batches hold no rows to train on.")
            if progress is not None:
                progress(Epoch(number, *(sums / rows).tolist()))
        assert training is not None
        return Generative(training.net.eval().requires_grad_(False), training.scale, target)


def _goal(model: Model, x: Tensor, target: int | None) -> Goal:
    if target is not None:
        return Targeted(torch.full((len(x),), target, dtype=torch.int64, device=x.device))
    with torch.no_grad():
        return Drift(model(x))


class _Training:
    """The two networks with their optimizers, and one step of both."""

    def __init__(self, options: AdvGAN, x: Tensor, threat: Threat) -> None:
        if x.ndim != 4:
            raise UserError(f"AdvGAN takes pictures [n, channels, h, w]; x has shape {tuple(x.shape)}.")
        self.options, self.threat = options, threat
        self.scale = _widest(threat)
        self.net = PerturbationNet(x.shape[1], options.width, options.blocks).to(x)
        self.judge = Discriminator(x.shape[1], options.width).to(x)
        self.makes = torch.optim.Adam(self.net.parameters(), options.lr)
        self.tells = torch.optim.Adam(self.judge.parameters(), options.lr)

    def step(self, model: Model, x: Tensor, goal: Goal) -> Tensor:
        """One step of D, then one of G; success, L_adv, L_GAN and the norm of the change, batch means [4]."""
        raw = self.scale * self.net(x)
        z = straight_through(_useful(raw, self.threat), self.threat.project(x, raw.detach()))
        x_adv = self.threat.apply(x, z)
        real, made = self.judge(x), self.judge(x_adv.detach())
        _descend(self.tells, self.judge, ((real - 1).square() + made.square()).mean() / 2)
        outputs = _answers(model, x_adv, goal)
        adversarial = (self.options.kappa - goal.score(self.options.loss, outputs)).clamp(min=0).mean()
        gan = (self.judge(x_adv) - 1).square().mean()
        size = norm(z, 2)
        hinge = (size - self.options.c).clamp(min=0).mean()
        _descend(self.makes, self.net, adversarial + self.options.alpha * gan + self.options.beta * hinge)
        return torch.stack((goal.success(outputs).float().mean(), adversarial, gan, size.mean())).detach().float().cpu()


def _widest(threat: Threat) -> float:
    """How far one value can go in a ball: its radius, or from limit to limit."""
    inner = threat
    while isinstance(inner, (Masked, Levels)):
        inner = inner.threat
    box = getattr(inner, "box", None)
    return min(float(threat.eps), box.width if box else float("inf"))


def _answers(model: Model, x_adv: Tensor, goal: Goal) -> Tensor:
    outputs = model(x_adv)
    checks.outputs(outputs, len(x_adv))
    goal.check_outputs(outputs)
    if not outputs.requires_grad:
        raise UserError(
            "the model's outputs carry no gradient, which the generator is trained by. Train it on a substitute that "
            "has one; the trained attack then asks no gradient of any model."
        )
    return outputs


def _useful(raw: Tensor, threat: Threat) -> Tensor:
    """What a gradient should pass through: in L2, where what is longer than the radius is shortened, no length."""
    if getattr(threat, "norm", None) != "l2":
        return raw
    return raw * per_row((threat.eps / norm(raw, 2).clamp(min=1e-12)).clamp(max=1), raw)


def _descend(optimizer: torch.optim.Optimizer, net: nn.Module, loss: Tensor) -> None:
    optimizer.zero_grad()
    loss.backward(inputs=list(net.parameters()))
    optimizer.step()
