"""Nearest neighbours as the last layer: answers in steps, with no slope to follow."""

from __future__ import annotations

from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense, behind
from struthio.defenses.training import same_rows
from struthio.detectors.base import Fitted
from struthio.detectors.neighbours import squared_distances


class NearestNeighbours(Defense, Fitted):
    """The k nearest stored rows vote, a case of gradient masking (Papernot et al., 2016, arXiv 1611.03814).

    Votes stay as they are while the input moves, so no gradient arrives; yet what wins against a smooth stand-in wins
    here. Alone it is a whole model, on pictures or any rows; behind a network it takes the place of the last layers:

        nn.Sequential(NearestNeighbours().fit(x, y))
        nn.Sequential(net.features, NearestNeighbours(k=5).fit(net.features(x), y))

    Before `fit` it holds one random row a class, as a fresh layer holds random weights.

    Args:
        k: how many neighbours vote; classes that are level are settled by the soft scores.
        classes: how many there are.
        features: values in a row, before `fit`.
        temperature: of the soft scores, in mean squared distances from a stored row to the nearest other one.
    """

    paper: ClassVar[str] = "Papernot et al., 2016, arXiv 1611.03814"
    rows: Tensor
    labels: Tensor
    scale: Tensor

    def __init__(self, k: int = 1, classes: int = 10, features: int = 784, temperature: float = 0.04) -> None:
        super().__init__()
        for name, value in (("k", k), ("classes", classes), ("features", features)):
            checks.count(value, name)
        checks.positive(temperature, "temperature")
        self.k, self.classes, self.temperature = k, classes, temperature
        self.keep(rows=torch.rand(classes, features), labels=torch.arange(classes), scale=torch.ones(()))

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """Behind the model, on its outputs, which it is then to be fitted to."""
        return behind(model, cls(*options, **named))

    @torch.no_grad()
    def fit(self, x: Tensor, y: Tensor) -> Self:
        """Store labelled rows.

        Args:
            x: rows [m, ...], at least two and at least k.
            y: their classes, int64 [m].

        Returns:
            The defence itself, in evaluation mode.

        Raises:
            UserError: where rows and classes do not fit each other, or there are too few.
        """
        same_rows((x, y))
        checks.classes(y, len(x), "labels")
        fewest, lowest, highest = max(self.k, 2), int(y.min()), int(y.max())
        if len(x) < fewest or lowest < 0 or highest >= self.classes:
            raise UserError(
                f"{len(x)} rows of classes {lowest} to {highest} were given; at least {fewest} rows of classes 0 to "
                f"{self.classes - 1} are needed."
            )
        rows = x.flatten(1)
        apart = torch.cat(
            [squared_distances(some, rows).topk(2, largest=False).values[:, 1] for some in rows.split(256)]
        )
        self.keep(rows=rows, labels=y, scale=apart.mean().clamp(min=1e-12))
        return self.eval()

    def forward(self, x: Tensor) -> Tensor:
        """Votes a class, of which ties are broken by less than one vote, [n, classes]."""
        near = self._squared(x).topk(min(self.k, len(self.rows)), largest=False).indices
        votes = F.one_hot(self.labels[near], self.classes).sum(1)
        return (votes + self.stand_in(x).softmax(1) / 2).detach()

    def stand_in(self, x: Tensor) -> Tensor:
        """Soft nearest neighbours: log of the sum over a class of exp(-distance^2 / temperature), [n, classes]."""
        logits = -self._squared(x) / (self.temperature * self.scale)
        own = self.labels == torch.arange(self.classes, device=x.device)[:, None]
        return torch.stack([logits[:, each].logsumexp(1) for each in own], 1)

    def _squared(self, x: Tensor) -> Tensor:
        flat = x.flatten(1)
        if flat.shape[1] != self.rows.shape[1]:
            raise UserError(f"rows have {flat.shape[1]} values, but those stored have {self.rows.shape[1]}.")
        return squared_distances(flat, self.rows.to(flat))
