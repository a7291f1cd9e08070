"""A network that tells adversarial rows from clean ones: at the input, or at a layer of the model."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.defenses.training import Course
from struthio.detectors.activations import activations, hidden_layers, in_parts
from struthio.detectors.base import Detector
from struthio.detectors.taught import FIVE, alike, teach


class _Binary(Detector):
    """What both share: a small network `net` whose one output is above 0 for adversarial rows.

    Args:
        course: how long and how fast it learns.
    """

    supervised = True

    def __init__(self, layers: tuple[str, ...], course: Course) -> None:
        super().__init__(layers)
        self.course, self.net = course, cast(nn.Module, nn.Identity())

    def see(self, x: Tensor) -> Tensor:
        """What the network is given."""
        return x

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        rows = alike(in_parts(self.see, x), in_parts(self.see, x_adv))
        teach(self.net, self._loss, rows, self.course)

    def _loss(self, seen: Tensor, adversarial: Tensor) -> Tensor:
        return F.binary_cross_entropy_with_logits(self.net(seen)[:, 0], adversarial)

    def score(self, x: Tensor) -> Tensor:
        """The log-odds of an adversarial row, [n]."""
        answer: Tensor = self.net(self.see(x))
        return answer[:, 0]


class BinaryInput(_Binary):
    """A separate network on the inputs, taught with clean and adversarial rows in equal parts.

    Two convolutions with stride 2 for pictures, none for other rows, then 128 hidden units; the paper takes a network
    like the classifier.

    Args:
        course: how long and how fast it learns.
    """

    paper: ClassVar[str] = "Gong, Wang, Ku, 2017, arXiv 1704.04960"
    looks: ClassVar[bool] = False

    def __init__(self, course: Course = FIVE) -> None:
        super().__init__((), course)

    def build(self, model: nn.Module) -> None:
        """The network, for rows of this shape."""
        super().build(model)
        self.net = small(torch.zeros(1, *self.shape)).requires_grad_(False)


class BinaryLayer(_Binary):
    """A small network on what a layer of the model says; the model itself stays frozen.

    A dynamic adversary goes against both while the network learns: every batch it climbs (1 - s) times the sign of the
    classifier's slope plus s times that of the detector's, s drawn anew for every row.

    Args:
        layers: the one layer; () takes the middle one of the hidden layers.
        dynamic: the radius in Linf of the dynamic adversary, which then makes all adversarial rows itself, between the
            least and the greatest value of x; None learns from x_adv.
        steps: of the dynamic adversary, each 2.5 / steps of the radius (the paper: one level of 255).
        course: how long and how fast the network learns.
    """

    paper: ClassVar[str] = "Metzen, Genewein, Fischer, Bischoff, 2017, arXiv 1702.04267"

    def __init__(
        self,
        layers: tuple[str, ...] = (),
        dynamic: float | None = None,
        steps: int = 10,
        course: Course = FIVE,
    ) -> None:
        super().__init__(layers, course)
        if len(layers) > 1:
            raise checks.UserError(f"{len(layers)} layers were named; the detector looks at one.")
        if dynamic is not None:
            checks.positive(dynamic, "dynamic")
        checks.count(steps, "steps")
        self.dynamic, self.steps, self.supervised = dynamic, steps, dynamic is None

    def build(self, model: nn.Module) -> None:
        """The network, for what the layer says of rows of this shape."""
        super().build(model)
        zeros = self.blank(model)
        if not self.layers:
            hidden = hidden_layers(model, zeros)
            self.layers = (hidden[len(hidden) // 2],)
        self.net = small(in_parts(self.see, zeros)).requires_grad_(False)

    def see(self, x: Tensor) -> Tensor:
        """The layer's activations."""
        return activations(self.inside, self.layers, x)[1][0]

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        if self.dynamic is None:
            super()._fit(model, x, y, x_adv)
            return
        low, high = x.aminmax()

        def loss(rows: Tensor, labels: Tensor) -> Tensor:
            adversarial = self._climb(rows, labels).clamp(low, high)
            with torch.no_grad():
                seen = self.see(torch.cat([rows, adversarial]))
            return self._loss(seen, (torch.arange(len(seen), device=x.device) >= len(rows)).to(x))

        teach(self.net, loss, (x, y), self.course)

    def _climb(self, x: Tensor, y: Tensor) -> Tensor:
        """Adversarial rows against the classifier and the detector together."""
        assert self.dynamic is not None
        share = torch.rand(len(x), *[1] * (x.ndim - 1)).to(x)
        moved = x
        for _ in range(self.steps):
            moved = moved.detach().requires_grad_()
            outputs, (seen,) = activations(self.inside, self.layers, moved)
            wrong = torch.autograd.grad(F.cross_entropy(outputs, y, reduction="sum"), moved, retain_graph=True)[0]
            unseen = torch.autograd.grad(-self.net(seen).sum(), moved)[0]
            step = self.dynamic * 2.5 / self.steps * ((1 - share) * wrong.sign() + share * unseen.sign())
            moved = (moved.detach() + step).clamp(x - self.dynamic, x + self.dynamic)
        return moved.detach()


def small(rows: Tensor) -> nn.Module:
    """A small network from rows like these to one number; it convolves what has channels, height and width."""
    if rows.ndim != 4:
        return nn.Sequential(nn.Flatten(), nn.Linear(rows[0].numel(), 128), nn.ReLU(), nn.Linear(128, 1))
    channels, height, width = rows.shape[1:]
    places = -(-height // 4) * -(-width // 4)
    return nn.Sequential(
        nn.Conv2d(channels, 32, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(32, 64, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(64 * places, 128),
        nn.ReLU(),
        nn.Linear(128, 1),
    )
