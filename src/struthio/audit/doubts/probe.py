"""A few dozen rows of a model, asked without leaving a trace, its randomness held still where wanted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial

import torch
from torch import Tensor, nn

from struthio.attacks.stream import out_of_memory
from struthio.audit.chance import repeated
from struthio.goals import Evade, Untargeted, abstains, against
from struthio.gradients import Autograd, NoGradient
from struthio.meter import ask
from struthio.models.contract import looks_like_probabilities
from struthio.rows import RowGenerator, Rows, norm, per_row
from struthio.types import Model, Threat

ROWS = 64  # more rows cost more and would change no verdict


@dataclass(frozen=True)
class Probe:
    """What the tests before an attack work on.

    Attributes:
        model: any callable from a batch to outputs.
        x: a few dozen rows [n, ...].
        labels: their classes [n].
        threat: with a finite radius, which sets the scale of "a small step".
        generator: the rows' random numbers.
        abstains: whether the last class is no answer but abstaining.
    """

    model: Model
    x: Tensor
    labels: Tensor
    threat: Threat
    generator: RowGenerator
    abstains: bool = False

    @property
    def goal(self) -> Untargeted | Evade:
        """What an attack wants, with the slope of what it is judged by."""
        goal = against(self.labels, self.abstains)
        return replace(goal, blend=False) if isinstance(goal, Evade) else goal

    def __getitem__(self, rows: Rows) -> Probe:
        some = self.x[rows], self.labels[rows], self.threat[rows], self.generator[rows]
        return Probe(self.model, *some, self.abstains)

    def few(self, rows: int) -> Probe:
        """The first rows alone."""
        return self[slice(rows)]

    def crowd(self, times: int) -> Probe:
        """Every row several times: all rows, all rows again, ..."""
        return self[torch.arange(len(self.x), device=self.x.device).repeat(times)]

    @cached_property
    def clean(self) -> Tensor:
        """The outputs on the rows themselves, draw 0, asked once for all tests."""
        return self.ask(self.x)

    @torch.no_grad()
    def ask(self, x: Tensor, draw: int = 0) -> Tensor:
        """The outputs; equal draws give a random model equal random numbers."""
        with repeated(self.generator.fold(draw)):
            return ask(self.model, x)

    def slope(self, z: Tensor, draw: int = 0) -> Tensor | None:
        """The slope of the soft margin at z, or None where no gradient arrives."""
        see, score = partial(self.threat.apply, self.x), partial(self.goal.score, SoftMargin())
        try:
            with repeated(self.generator.fold(draw)):
                return Autograd()(self.model, see, z, score, self.generator)[0]
        except (NoGradient, RuntimeError) as error:  # what a part refuses that leaves torch is no gradient, too
            if out_of_memory(error):
                raise
            return None

    @torch.no_grad()
    def score(self, z: Tensor, draw: int = 0) -> Tensor:
        """The soft margin at z, [n]."""
        return self.goal.score(SoftMargin(), self.ask(self.threat.apply(self.x, z), draw))

    def step(self, way: Tensor, share: float) -> Tensor:
        """A step from x of a share of the radius, as steep as the threat allows along a slope."""
        zero = self.threat.zero(self.x)
        length = per_row(torch.as_tensor(self.threat.reach, dtype=self.x.dtype, device=self.x.device) * share, zero)
        return self.threat.project(self.x, length * self.threat.steepest(self.x, zero, way))

    def nearby(self, share: float, draw: int) -> Tensor:
        """A random z within a share of the radius."""
        return share * self.threat.sample(self.x, self.generator.fold(draw))


def probe(model: Model, x: Tensor, labels: Tensor, threat: Threat, generator: RowGenerator) -> Probe:
    """The first rows; an infinite radius is taken for a tenth of what the limits allow, or of the input's own size."""
    x, labels, threat, generator = x[:ROWS].detach(), labels[:ROWS], threat[:ROWS], generator[: len(x[:ROWS])]
    eps = torch.as_tensor(threat.eps, dtype=x.dtype, device=x.device)
    if not bool(eps.isfinite().all()):
        widest = threat.farthest(x)
        widest = torch.where(widest.isfinite(), widest, threat.size(x, torch.zeros_like(x)))
        threat = threat.at(torch.minimum(0.1 * widest, eps))
    return Probe(model, x, labels, threat, generator, abstains(model))


def soft_margin(outputs: Tensor, labels: Tensor) -> Tensor:
    """The log-sum-exp of the wrong scores less the right one, [n]: parallel to the cross-entropy, and never flat.

    Probabilities are taken as their logarithms.
    """
    if looks_like_probabilities(outputs.detach()):
        outputs = outputs.clamp(min=1e-30).log()
    others = outputs.scatter(1, labels[:, None], -torch.inf).logsumexp(1)
    return others - outputs.gather(1, labels[:, None]).squeeze(1)


@dataclass(frozen=True)
class SoftMargin:
    """The soft margin as a loss."""

    def away(self, outputs: Tensor, labels: Tensor) -> Tensor:
        """The soft margin, [n]."""
        return soft_margin(outputs, labels)

    def toward(self, outputs: Tensor, targets: Tensor, labels: Tensor | None = None) -> Tensor:
        """The soft margin of the target, with its sign turned, [n]."""
        return -soft_margin(outputs, targets)


def apart(answers: Tensor, others: Tensor) -> Tensor:
    """The largest difference of each row's scores, as a share of their spread."""
    spread = (others.amax(-1) - others.amin(-1)).clamp(min=1e-12)
    return (answers - others).abs().amax(-1) / spread


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine between two slopes, [n]; 0 where one is zero."""
    return (a * b).flatten(1).sum(1) / (norm(a, 2) * norm(b, 2)).clamp(min=1e-30)


@contextmanager
def untouched(model: Model) -> Iterator[None]:
    """Put back what asking a model in training mode changes: the running statistics of its layers."""
    buffers = dict(model.named_buffers()) if isinstance(model, nn.Module) else {}
    before = {name: buffer.clone() for name, buffer in buffers.items()}
    try:
        yield
    finally:
        with torch.no_grad():
            for name, buffer in buffers.items():
                if not torch.equal(buffer, before[name]):
                    buffer.copy_(before[name])
