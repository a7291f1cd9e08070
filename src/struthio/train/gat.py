"""Generative adversarial trainer: a network makes changes from the classifier's gradient, which learns from them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from struthio import checks
from struthio.attacks.generator import PerturbationNet
from struthio.checks import UserError
from struthio.rows import norm, per_row
from struthio.train.recipe import Moment, Recipe, prepared


@dataclass(frozen=True)
class GAT(Recipe):
    """alpha J(x, y) + (1 - alpha) J(x + G(grad J), y) for the classifier; p_y(x + G) + cost |G|^2 for the generator.

    One loss holds both, and each network sees its own part alone: G's change is a constant to the classifier, the
    classifier's weights are constants to G. G gets the gradient at x, each row scaled to a mean square of 1, and is the
    network of AdvGAN's generator, with values in [-scale, scale]. Changed inputs are not clipped. Left open by what
    could be read of the paper, and chosen here: G's architecture, the cost, and that both take one step a batch, by
    the same optimiser.

    Args:
        alpha: the weight of the clean part, in [0, 1).
        cost: of the Euclidean length squared of a change.
        scale: the most that a value is changed.
        width: channels of the generator's first convolution.

    Raises:
        UserError: for options that cannot be meant, or a model without a convolution, whose first one tells how many
            channels the pictures have.
    """

    paper: ClassVar[str] = "Lee, Han, Lee, 2017, arXiv 1705.03387"

    alpha: float = 0.5
    cost: float = 1.0
    scale: float = 0.1
    width: int = 8

    def __post_init__(self) -> None:
        if not 0 <= self.alpha < 1:
            raise UserError(f"alpha is {self.alpha:g}; the clean part has a weight in [0, 1).")
        checks.not_negative(self.cost, "cost")
        checks.positive(self.scale, "scale")
        checks.count(self.width, "width")

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model with a generator beside it."""
        return Taught(model, PerturbationNet(_channels(model), self.width, blocks=1))

    def finish(self, trained: nn.Module) -> nn.Module:
        """The model alone."""
        return prepared(trained, Taught, "GAT").classifier

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """Both networks' losses, added."""
        both = prepared(model, Taught, "GAT")
        x = x.detach().requires_grad_()
        clean = F.cross_entropy(both.classifier(x), y)
        (slope,) = torch.autograd.grad(clean, x, retain_graph=True)
        change = self.scale * both.generator(_unit(slope))
        moved = x.detach() + change
        learns = F.cross_entropy(both.classifier(moved.detach()), y)
        fools = fixed(both.classifier, moved).softmax(1).gather(1, y[:, None]).mean()
        teaches = fools + self.cost * change.flatten(1).square().sum(1).mean()
        total: Tensor = self.alpha * clean + (1 - self.alpha) * learns + teaches
        return total


class Taught(nn.Module):
    """A classifier and the generator that it is trained against.

    Args:
        classifier: from pictures to logits.
        generator: from gradients [n, channels, h, w] to changes of the same shape.
    """

    def __init__(self, classifier: nn.Module, generator: nn.Module) -> None:
        super().__init__()
        like = next(classifier.parameters())
        self.classifier, self.generator = classifier, generator.to(like)

    def forward(self, x: Tensor) -> Tensor:
        """The classifier's outputs."""
        out: Tensor = self.classifier(x)
        return out


def fixed(model: nn.Module, x: Tensor) -> Tensor:
    """The model's outputs, to whose weights no gradient comes, and whose statistics stay as they are."""
    parameters = {name: value.detach() for name, value in model.named_parameters()}
    buffers = {name: value.clone() for name, value in model.named_buffers()}
    out: Tensor = functional_call(model, {**parameters, **buffers}, (x,))
    return out


def _unit(slope: Tensor) -> Tensor:
    """Each row scaled to a mean square of 1; a row of zeros stays."""
    size = norm(slope, 2) / slope[0].numel() ** 0.5
    return slope / per_row(size.clamp(min=torch.finfo(slope.dtype).tiny), slope)


def _channels(model: nn.Module) -> int:
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            return part.in_channels
    raise UserError("the model has no convolution, and GAT changes pictures. Take FGSMAT for rows of another kind.")
