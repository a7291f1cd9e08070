"""Kernel density: how far an input lies, in the last hidden layer, from training rows of its class."""

from __future__ import annotations

from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from struthio import checks
from struthio.detectors.activations import activations, hidden_layers, in_parts
from struthio.detectors.base import Detector
from struthio.detectors.dropout import dropping, has_dropout, uncertainty
from struthio.detectors.logistic import Logistic
from struthio.detectors.neighbours import squared_distances


class KernelDensity(Detector):
    """Logistic regression on the log-density of the predicted class and on the uncertainty under dropout.

    The density is the mean of exp(-|f - f_i|^2 / h^2) over the rows i of the predicted class. Since that class is
    chosen by a maximum, the score jumps at the border between two classes.

    Args:
        layers: the one layer; () takes the last hidden layer.
        bandwidth: h; None takes the mean distance of a row from the nearest other of its class (the paper tunes it: 1.2
            for MNIST, 0.26 for CIFAR-10).
        passes: with dropout; 0 leaves the uncertainty out, and the score is then no longer random.
        rate: of units dropped at the hidden layers, where the model has no dropout of its own.
    """

    paper: ClassVar[str] = "Feinman, Curtin, Shintre, Gardner, 2017, arXiv 1703.00410"
    supervised = True
    random = True
    held: Tensor
    classes: Tensor
    h: Tensor

    def __init__(
        self, layers: tuple[str, ...] = (), bandwidth: float | None = None, passes: int = 20, rate: float = 0.5
    ) -> None:
        super().__init__(layers)
        if bandwidth is not None:
            checks.positive(bandwidth, "bandwidth")
        checks.count(passes, "passes", 0)
        if not 0 < rate < 1:
            raise checks.UserError(f"rate is {rate:g}; a share above 0 and below 1 is needed.")
        if len(layers) > 1:
            raise checks.UserError(f"{len(layers)} layers were named; the density is that of one.")
        self.bandwidth, self.passes, self.rate, self.random = bandwidth, passes, rate, passes > 0
        self.judge, self.dropped = Logistic(), cast(tuple[str, ...], ())

    def build(self, model: nn.Module) -> None:
        """Keep the model, and choose the layer where none was named."""
        super().build(model)
        hidden = hidden_layers(model, self.blank(model))
        self.layers = self.layers or hidden[-1:]
        self.dropped = () if has_dropout(model) else hidden

    def _fit(self, model: nn.Module, x: Tensor, y: Tensor, x_adv: Tensor) -> None:
        self.keep(held=in_parts(lambda part: activations(model, self.layers, part)[1][0].flatten(1), x), classes=y)
        self.keep(h=x.new_tensor(self.bandwidth or max(self._nearest(), 1e-6)))
        clean = torch.cat([self.signs(part, own=True).detach() for part in x.split(200)])
        self.judge.fit(clean, torch.cat([self.signs(part).detach() for part in x_adv.split(200)]))

    def _nearest(self) -> float:
        """The mean distance of a held row from the nearest other of its class."""
        found = []
        for label in self.classes.unique():
            rows = self.held[self.classes == label]
            if len(rows) > 1:
                found.append(squared_distances(rows, rows).fill_diagonal_(torch.inf).amin(1).sqrt())
        return float(torch.cat(found).mean()) if found else 1.0

    def signs(self, x: Tensor, own: bool = False) -> Tensor:
        """The log-density with its sign turned, and the uncertainty, [n, 1 or 2]; `own` leaves out the row itself."""
        outputs, (seen,) = activations(self.inside, self.layers, x)
        away = squared_distances(seen.flatten(1), self.held)
        other = self.classes != outputs.argmax(1)[:, None]
        other = other & ~other.all(1, keepdim=True)  # a class that no row is known of is compared with all
        if own:
            away = away.masked_fill(away <= 1e-6 * seen.flatten(1).square().sum(1, keepdim=True), torch.inf)
        near = (-away / self.h.square()).masked_fill(other, -torch.inf)
        count = (~other).sum(1).clamp(min=1).to(near).log()
        found = [(count - near.logsumexp(1)).clamp(max=1e6)]
        if self.passes:
            with dropping(self.inside, self.dropped, self.rate):
                found.append(uncertainty(self.inside, [x] * self.passes))
        return torch.stack(found, 1)

    def score(self, x: Tensor) -> Tensor:
        """The log-odds of an adversarial row, [n]."""
        odds: Tensor = self.judge(self.signs(x))
        return odds
