"""A copy of a model that shows only labels: a network of one's own, trained on inputs that the model itself labelled.

Where the copy's answer changes, the original's is worth asking for: each round moves every input along the sign of the
copy's slope, asks for the labels of the new inputs, and trains on all of them. What fools the copy often fools the
original: `Via(attack, copy.model)`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.attacks.base import no_trace
from struthio.attacks.oracle import Oracle
from struthio.rows import RowGenerator, as_generator
from struthio.threats.box import PIXELS, Box
from struthio.types import Model

Network = Callable[[torch.Size, int], nn.Module]


def small_network(shape: torch.Size, classes: int) -> nn.Module:
    """Two convolutions for pictures [c, h, w] of at least 8 pixels a side, two layers of 200 units for other inputs.

    The paper finds that the copy's shape matters little beyond this; a perceptron copy of a picture network passes on
    clearly less.
    """
    if len(shape) != 3 or min(shape[1:]) < 8:
        return nn.Sequential(nn.Flatten(), *_layers(shape.numel(), 200, 200), nn.Linear(200, classes))
    seen = (
        nn.Conv2d(shape[0], 8, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.AdaptiveAvgPool2d(7), nn.Flatten(),
    )  # fmt: skip
    return nn.Sequential(*seen, *_layers(16 * 49, 100), nn.Linear(100, classes))


def _layers(width: int, *units: int) -> list[nn.Module]:
    return [part for before, after in pairwise((width, *units)) for part in (nn.Linear(before, after), nn.ReLU())]


@dataclass(frozen=True)
class Substituted:
    """What came of training a substitute.

    Attributes:
        model: the copy, in evaluation mode.
        x: the inputs that were labelled, [m, ...]: those given first, then those made round by round.
        labels: the original's classes for them, int64 [m].
        classes: how many the original knows.
        queries: how often the original was asked in this call.
        rounds: how many were done; the last may have fewer inputs where `ended` says why.
        ended: why the original answered no more, or None.
    """

    model: nn.Module
    x: Tensor
    labels: Tensor
    classes: int
    queries: int
    rounds: int
    ended: str | None = None


@dataclass(frozen=True)
class Substitute:
    """Jacobian-based augmentation: inputs double each round, along the copy's slope of the class that the oracle named.

    With 150 inputs and 6 rounds the oracle labels 150 * 2^5 = 4,800. The copy is trained on from round to round. The
    reservoir (`most`) is of Papernot, McDaniel, Goodfellow, 2016, arXiv 1605.07277.

    Args:
        rounds: rho, how often the copy is trained; inputs are added between two rounds.
        epochs: passes over all inputs in each round.
        step: lambda, how far each value of a new input is from that of its parent, in units of the input; below 0 the
            first steps lead to where the named class is less likely.
        period: tau, after how many rounds the step changes its sign.
        most: kappa, the most inputs added in a round, drawn from all with equal chances (the papers' reservoir: 400);
            None doubles them every round.
        doublings: sigma, how often all inputs are doubled before `most` holds: n inputs cost
            n * 2^doublings + most * (rounds - 1 - doublings) labels.
        lr: learning rate of Adam.
        batch: the most rows in a step of training.
        network: from the shape of an input and the number of classes to an untrained network.
        box: the limits of the input, which new inputs keep; None for no limits, as in the paper.
    """

    paper: ClassVar[str] = "Papernot, McDaniel, Goodfellow, Jha, Celik, Swami, 2017, arXiv 1602.02697"

    rounds: int = 6
    epochs: int = 10
    step: float = 0.1
    period: int = 3
    most: int | None = None
    doublings: int = 3
    lr: float = 1e-3
    batch: int = 128
    network: Network = small_network
    box: Box | None = PIXELS

    def __post_init__(self) -> None:
        for name in ("rounds", "epochs", "period", "batch"):
            checks.count(getattr(self, name), name)
        if self.most is not None:
            checks.count(self.most, "most")
        checks.count(self.doublings, "doublings", 0)
        checks.positive(self.lr, "lr")
        checks.positive(abs(self.step), "the size of step")

    def train(
        self,
        oracle: Model | Any,
        x: Tensor,
        generator: int | RowGenerator | torch.Generator = 0,
        budget: int | None = None,
        known: Substituted | None = None,
    ) -> Substituted:
        """Train a copy of the oracle, beginning with x.

        When the budget is spent, or a model behind a wire answers no more, the copy is trained on what was labelled.

        Args:
            oracle: any model or fitted scikit-learn classifier; of its outputs only the strongest class is used.
            x: a few inputs [n, ...] within the limits, best some of every class. Their true classes are not needed.
            generator: a seed, a RowGenerator that carries the rows' ids, or a torch.Generator.
            budget: the most questions in all; None for no limit but the oracle's own. An endpoint's own budget counts
                the questions that it had to put twice, too.
            known: what came of an earlier call, whose answers need not be asked for again: with the same options, x and
                generator, training goes on where it ended.

        Raises:
            UserError: where an argument cannot be meant.
            Ended: where the oracle answers nothing at all.
        """
        *_, last = self.each_round(oracle, x, generator, budget, known)
        return last

    def each_round(
        self,
        oracle: Model | Any,
        x: Tensor,
        generator: int | RowGenerator | torch.Generator = 0,
        budget: int | None = None,
        known: Substituted | None = None,
    ) -> Iterator[Substituted]:
        """As `train`, but gives what there is after every round; the copy is one network, which goes on learning."""
        low, high = (self.box.low, self.box.high) if self.box else (None, None)
        checks.inputs(x, low, high, type(self).__name__)
        ask, rows, x = Oracle(oracle, budget), as_generator(generator, x), x.detach()
        if known is not None:
            ask.remember(known.x, known.labels, known.classes)
        with no_trace(rows):
            x, labels, rows = ask.labelled(x, rows)
            if ask.ended and not len(x):
                raise ask.ended
            net = self.network(x.shape[1:], ask.classes).to(x.device, x.dtype)
            optimizer = torch.optim.Adam(net.parameters(), self.lr)
        for turn in range(self.rounds):
            with no_trace(rows.fold(turn)):
                if turn:
                    chosen = self._parents(rows.fold(turn), turn)
                    moved = self._moved(net, x[chosen], labels[chosen], turn - 1)
                    more = ask.labelled(moved, rows[chosen].fold(turn))
                    x, labels = torch.cat([x, more[0]]), torch.cat([labels, more[1]])
                    rows = RowGenerator(torch.cat([rows.keys, more[2].keys]))
                self._fit(net, optimizer, x, labels, rows.fold(turn))
            why = str(ask.ended) if ask.ended else None
            yield Substituted(net, x, labels, ask.classes, ask.queries, turn + 1, why)
            if ask.ended:
                break

    def _parents(self, rows: RowGenerator, turn: int) -> Tensor:
        """The rows from which new inputs are made in this round, from 1: all, or `most` of them, in their order."""
        if self.most is None or turn <= self.doublings or len(rows) <= self.most:
            return torch.arange(len(rows), device=rows.keys.device)
        return rows.uniform(dtype=torch.float64).argsort()[: self.most].sort().values

    def _moved(self, net: nn.Module, x: Tensor, labels: Tensor, turn: int) -> Tensor:
        """Each input, a step along the sign of the copy's slope of the labelled class's score."""
        step = self.step * (-1) ** (turn // self.period)
        moved = torch.cat(
            [
                part + step * _slope(net, part, classes).sign()
                for part, classes in zip(x.split(self.batch), labels.split(self.batch), strict=True)
            ]
        )
        return moved if self.box is None else self.box.clip(moved)

    @torch.enable_grad()
    def _fit(
        self, net: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, labels: Tensor, rows: RowGenerator
    ) -> None:
        net.train()
        for epoch in range(self.epochs):
            order = rows.fold(epoch).uniform(dtype=torch.float64).argsort()
            for part in order.chunk(math.ceil(len(x) / self.batch)):
                loss = F.cross_entropy(net(x[part]), labels[part])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        optimizer.zero_grad()
        net.eval()


@torch.enable_grad()
def _slope(net: nn.Module, x: Tensor, labels: Tensor) -> Tensor:
    x = x.detach().requires_grad_()
    (grad,) = torch.autograd.grad(net(x).gather(1, labels[:, None]).sum(), x)
    return grad
