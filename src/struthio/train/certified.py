"""Certified training: the loss at the worst logits that bounds cannot rule out, so that the bounds prove what is left.

Intervals: Gowal et al., 2018, arXiv 1810.12715 (IBP). Lines at the end over intervals in the middle: Zhang et al.,
2020, arXiv 1906.06316 (CROWN-IBP).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.certify.backward import Bounded
from struthio.certify.certificate import margin_questions
from struthio.certify.linear import bounded
from struthio.certify.network import Network
from struthio.certify.region import region_of
from struthio.certify.trace import live
from struthio.checks import UserError
from struthio.put_back import in_mode
from struthio.train.adversarial import WithThreat
from struthio.train.recipe import Moment, prepared
from struthio.types import Threat


@dataclass(frozen=True)
class Certified(WithThreat):
    """What both share: a model whose operations are known, a time without bounds, and a radius that then grows.

    Args:
        threat: what may change: Linf, L2 or L1, also within Masked or Levels. Intervals treat every one as a box.
        kappa: the weight of the plain loss at the end, in [0, 1).
        warmup: the share of training without bounds.
        ramp: the share of training over which the radius then grows.

    Raises:
        UserError: for options that cannot be meant; at the first step, for inputs outside the limits of the threat; as
            NotBounded for a model with an operation without bounds.
    """

    plain_at_zero: ClassVar[bool] = False  # bounds are of evaluation mode

    kappa: float = 0.5
    warmup: float = 1 / 30
    ramp: float = 1 / 6

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.kappa < 1:
            raise UserError(f"kappa is {self.kappa:g}; the weight of the plain loss at the end is in [0, 1).")
        checks.not_negative(self.warmup, "warmup")
        if self.warmup + self.ramp > 1:
            raise UserError(f"warmup + ramp is {self.warmup + self.ramp:g}; the whole of training is 1.")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean over rows of kappa * CE(z) + (1 - kappa) * CE(worst z), at this moment's radius."""
        if moment.step == 0:
            self.threat.check(x)
        grown = ramped(moment.done, self.warmup, self.ramp)
        kappa = 1 - grown * (1 - self.kappa)
        clean = F.cross_entropy(model(x), y) if kappa > 0 else x.new_zeros(())
        if grown == 0:
            return clean
        with torch.autocast(x.device.type, enabled=False):
            margins = self.margins(prepared(model, Followed, "certified training"), x, y, grown)
        return kappa * clean + (1 - kappa) * worst_cross_entropy(margins)

    def margins(self, model: Followed, x: Tensor, y: Tensor, grown: float) -> Tensor:
        """Lower bounds on the logit of each label minus each other [n, classes - 1], at this share of the radius."""
        raise NotImplementedError

    def prepare(self, model: nn.Module) -> nn.Module:
        """The model with the list of its operations."""
        return Followed(model)

    def finish(self, trained: nn.Module) -> nn.Module:
        """The model alone."""
        return prepared(trained, Followed, "certified training").model


@dataclass(frozen=True)
class IBP(Certified):
    """Interval bound propagation: kappa * CE(z) + (1 - kappa) * CE(worst z), z the logits of a batch.

    Training starts without bounds; then the radius grows from 0 to that of the threat, and kappa falls from 1 to its
    end, both by the same straight ramp. The last linear layer is taken together with the difference of two logits
    ("elision"), and bounds are those of evaluation mode: batch-norm by its running statistics, no dropout. The
    defaults are the paper's for MNIST (2,000 and 10,000 of 60,000 steps), which trains with a radius above that of the
    test (0.2 for 0.1, 0.4 for 0.3) at a learning rate of 1e-3 by Adam, cut to a tenth at 15,000 and 25,000 steps.
    """

    paper: ClassVar[str] = (
        "Gowal, Dvijotham, Stanforth, Bunel, Qin, Uesato, Arandjelovic, Mann, Kohli, 2018, arXiv 1810.12715"
    )

    def margins(self, model: Followed, x: Tensor, y: Tensor, grown: float) -> Tensor:
        """Those of intervals."""
        return _margins(enclosed(model, x, self.threat, grown, lines=False), y, Bounded.by_intervals)


@dataclass(frozen=True)
class CROWNIBP(Certified):
    """CROWN-IBP: as IBP, with margins (1 - beta) * those of intervals + beta * those of lines over these intervals.

    Lines are tighter where intervals are wide, which makes the ramp stable, and dearer: a walk back through the network
    for each class. The radius grows from 0 to that of the threat; beta falls from 1, kappa from its start, to their
    ends, by the same straight ramp. At a beta of 0 lines are no longer computed. The shares of training are those of
    10 and 50 out of 200 passes over MNIST.

    Args:
        beta: the weight of lines at the end, in [0, 1].

    Raises:
        UserError: for a beta outside these limits.
    """

    paper: ClassVar[str] = "Zhang, Chen, Xiao, Gowal, Stanforth, Li, Boning, Hsieh, 2020, arXiv 1906.06316"
    kappa: float = 0.0
    warmup: float = 0.05
    ramp: float = 0.25
    beta: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.beta <= 1:
            raise UserError(f"beta is {self.beta:g}; the weight of lines is in [0, 1].")

    def margins(self, model: Followed, x: Tensor, y: Tensor, grown: float) -> Tensor:
        """The weighted mean of both kinds; what has no weight is not computed."""
        beta = 1 - grown * (1 - self.beta)
        state = enclosed(model, x, self.threat, grown, lines=beta > 0)
        margins = x.new_zeros(())
        if beta < 1:
            margins = margins + (1 - beta) * _margins(state, y, Bounded.by_intervals)
        if beta > 0:
            margins = margins + beta * _margins(state, y, Bounded.lowest)
        return margins


class Followed(nn.Module):
    """A model, and the list of its operations as its parameters are now.

    Args:
        model: from a batch to logits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self._read: dict[tuple[object, ...], Callable[[], Network]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """The model's own outputs."""
        out: Tensor = self.model(x)
        return out

    def network(self, x: Tensor) -> Network:
        """The operations on rows like those of x. Raises NotBounded for one that is not known."""
        kind = (*x.shape[1:], x.dtype, x.device)
        if kind not in self._read:
            with in_mode(self.model, training=False):
                self._read[kind] = live(self.model, x)
        return self._read[kind]()

    def __deepcopy__(self, memo: dict[int, object]) -> Followed:
        """A copy of the model with nothing read yet, since what was read is of these parameters."""
        from copy import deepcopy

        copied = Followed(deepcopy(self.model, memo))
        copied.training = self.training
        return copied


def ramped(done: float, warmup: float, ramp: float) -> float:
    """How far the radius has grown, in [0, 1], when `done` of training lies behind."""
    if done < warmup:
        return 0.0
    return min(1.0, (done - warmup) / ramp) if ramp else 1.0


def enclosed(model: Followed, x: Tensor, threat: Threat, grown: float, lines: bool) -> Bounded:
    """Intervals, and lines where they are wanted, over this share of the threat's radius, with gradients."""
    network = model.network(x)
    region = region_of(threat.at(grown * threat.eps), x)
    return bounded(network, region.to(network.nodes[0].like), linear=False, lines=lines)


def worst_cross_entropy(margins: Tensor) -> Tensor:
    """The mean cross-entropy of logits whose label leads each other class by these margins [n, classes - 1]."""
    return torch.logsumexp(F.pad(-margins, (1, 0)), 1).mean()


def _margins(state: Bounded, y: Tensor, lowest: Callable[[Bounded, Tensor, Tensor], Tensor]) -> Tensor:
    """Lower bounds on the logit of each label minus each other, [n, classes - 1]."""
    a, rows = margin_questions(state.network, y)
    return lowest(state, a, rows).reshape(len(y), -1)
