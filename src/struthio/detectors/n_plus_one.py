"""One more class: the network itself is retrained to give adversarial rows a class of their own."""

from __future__ import annotations

import copy
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio.defenses.training import Course
from struthio.detectors.base import Detector
from struthio.detectors.taught import FIVE, alike, teach


class NPlusOne(Detector):
    """A copy of the model with class N for "adversarial", retrained on clean and adversarial rows.

    The score is the logit of class N less the highest other one, so a threshold of 0 is the retrained network's own
    decision. That network is `net`: it abstains by itself, and is attacked by `Evade` as it is. To harden it once more
    as the paper does, attack `net`, and `fit` again with all rows found so far.

    Args:
        course: how long and how fast it is retrained, on clean and adversarial rows in equal parts.
    """

    paper: ClassVar[str] = "Grosse, Manoharan, Papernot, Backes, McDaniel, 2017, arXiv 1702.06280"
    looks: ClassVar[bool] = False
    supervised = True

    def __init__(self, course: Course = FIVE) -> None:
        super().__init__()
        self.course, self.net = course, cast(nn.Module, nn.Identity())

    def build(self, model: nn.Module) -> None:
        """A copy of the model whose last linear layer has one output more."""
        super().build(model)
        self.net = widened(model, self.blank(model)).requires_grad_(False)
        self.net.abstains = True  # type: ignore[assignment]

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        rows, adversarial = alike(x, x_adv)
        classes = y[torch.arange(len(rows), device=y.device) % len(y)]
        extra = self.net(x[:1]).shape[1] - 1
        labels = torch.where(adversarial > 0, extra, classes)
        teach(self.net, lambda a, b: F.cross_entropy(self.net(a), b), (rows, labels), self.course)

    def score(self, x: Tensor) -> Tensor:
        """The logit of the extra class less the highest other, [n]."""
        outputs: Tensor = self.net(x)
        return outputs[:, -1] - outputs[:, :-1].amax(1)


def widened(model: nn.Module, row: Tensor) -> nn.Module:
    """A copy with one more output, at first ever 0; other outputs are as before, until it is trained."""
    net = copy.deepcopy(model)
    like = next(net.parameters())
    with torch.no_grad():
        classes = model(row).shape[1]
    linear = [name for name, part in net.named_modules() if isinstance(part, nn.Linear)]
    last = net.get_submodule(linear[-1]) if linear else None
    if not isinstance(last, nn.Linear) or last.out_features != classes or not linear[-1]:
        top = nn.Linear(classes, classes + 1).to(like)
        with torch.no_grad():
            top.weight.copy_(torch.eye(classes + 1, classes))
            top.bias.zero_()
        return nn.Sequential(net, top)
    wider = nn.Linear(last.in_features, classes + 1).to(like)
    with torch.no_grad():
        wider.weight.zero_()
        wider.bias.zero_()
        wider.weight[:classes] = last.weight
        if last.bias is not None:
            wider.bias[:classes] = last.bias
    parent, _, leaf = linear[-1].rpartition(".")
    setattr(net.get_submodule(parent), leaf, wider)
    return net
