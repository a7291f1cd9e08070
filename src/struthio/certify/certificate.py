"""What no attack can break: one call that proves rows robust, cheap methods first."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from torch import Tensor

from struthio import checks
from struthio.certify import lipschitz
from struthio.certify.backward import VALUES, Bounded
from struthio.certify.branch import MOST, Search
from struthio.certify.linear import bounded
from struthio.certify.network import Network, NotBounded
from struthio.certify.region import Region, region_of
from struthio.certify.trace import trace
from struthio.checks import UserError
from struthio.types import Model, Threat

METHODS = ("interval", "lipschitz", "crown-interval", "crown", "alpha", "split")  # from cheap to dear
ALPHA_STEPS, INNER_STEPS = 20, 8  # of Adam, for the last bounds and for each one in the middle
SLACK = 1e-5  # of 1 + the largest logit: a margin must be above it, since a model rounds to single precision


@dataclass(frozen=True)
class Certificate:
    """What was proved about each row.

    Attributes:
        certified: whether no input that the threat allows has another class than the label, bool [n].
        lower: a lower bound on the least margin that the threat leaves (logit of the label minus the largest other),
            float64 [n]; minus infinity where nothing could be said.
        method: what was asked for.
        seconds: that it took.
        reason: why nothing could be said, where the model cannot be bounded; else None.
    """

    certified: Tensor
    lower: Tensor
    method: str
    seconds: float
    reason: str | None = None

    def __len__(self) -> int:
        return len(self.certified)

    @property
    def rate(self) -> float:
        """The share of rows that are certified: a lower bound on robust accuracy over them."""
        return float(self.certified.double().mean())

    def __repr__(self) -> str:
        done = f"{int(self.certified.sum())} of {len(self)} rows certified by {self.method} in {self.seconds:.1f} s"
        return f"Certificate({done}{'' if self.reason is None else ': ' + self.reason})"


@torch.no_grad()
def certify(
    model: Model,
    x: Tensor,
    labels: Tensor,
    threat: Threat,
    method: str = "auto",
    values: int = VALUES,
    parts: int = MOST,
) -> Certificate:
    """Prove that no input which the threat allows around a row is given another class than its label.

    Bounds are computed in double precision for a region widened by what `threat.allows` forgives. A margin counts as
    above 0 only by more than 1e-5 of 1 + the largest logit, and four times the rounding seen at x, at a corner of what
    is allowed and far from both: a model rounds to single precision, its bounds do not. A model that cannot be bounded
    gives a certificate of nothing, with the reason.

    Args:
        model: from a batch to logits [n, classes], in evaluation mode. A softmax at its end is left out, and so is the
            logarithm of one.
        x: rows [n, ...] within the limits.
        labels: their classes, int64 [n].
        threat: Linf, L2 or L1, also within Masked or Levels.
        method: "interval" (fast, loose), "lipschitz" (a product of norms; for Euclidean balls), "crown-interval" (lines
            at the end, intervals before), "crown" (lines throughout), "alpha" (crown with optimised slopes), or "auto":
            the first four in this order, each for the rows that are right and not yet certified. "split" goes on from
            "auto" with "alpha" and cuts values at their bends, until a margin is proved to be above 0 and no further:
            that proves most, and takes seconds to minutes a row.
        values: how many coefficients may be held at a time, of 8 bytes each.
        parts: into how many "split" may cut the question of a row and a class, before it gives the row up.

    Raises:
        UserError: for rows, labels, a threat or a number of parts that cannot be meant.
    """
    checks.one_of(method, ("auto", *METHODS), "method")
    checks.count(parts, "parts")
    threat.check(x)
    checks.classes(labels, len(x), "labels")
    region = region_of(threat, x)
    started = time.perf_counter()
    lower = torch.full((len(x),), -torch.inf, dtype=torch.float64, device=x.device)
    try:
        network = trace(model, x, region.corner().to(x))
        logits = network(x)
        if int(labels.max()) >= logits.shape[1]:
            raise UserError(f"a label is {int(labels.max())}, but the model knows classes 0 to {logits.shape[1] - 1}.")
        needed = SLACK * (1 + logits.abs().amax(1)) + 4 * network.gap
        open_rows = lipschitz.margins(logits, labels).amin(1) > needed
        for number, name in enumerate(_stages(method, region)):
            rows = (open_rows if number else torch.ones_like(open_rows)).nonzero().flatten()
            if not len(rows):
                break
            for part in rows.split(max(1, values // sum(node.shape.numel() for node in network.nodes))):
                some = region[part], labels[part], values
                found = (
                    _by_cuts(network, *some, needed[part], parts) if name == "split" else _lower(name, network, *some)
                )
                lower[part] = torch.fmax(lower[part], found)
            open_rows &= lower <= needed
    except NotBounded as error:
        nothing = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        return Certificate(nothing, lower, method, time.perf_counter() - started, str(error))
    return Certificate(lower > needed, lower, method, time.perf_counter() - started)


@torch.no_grad()
def bounds(
    model: Model, x: Tensor, threat: Threat, method: str = "crown", values: int = VALUES
) -> tuple[Tensor, Tensor]:
    """The least and the greatest value that each output can take, float64 [n, classes] each.

    Args:
        model: in evaluation mode. A softmax at its end is left out.
        x: rows [n, ...] within the limits.
        threat: Linf, L2 or L1, also within Masked or Levels.
        method: "interval", "crown-interval", "crown" or "alpha".
        values: how many coefficients may be held at a time, of 8 bytes each.

    Raises:
        UserError: for arguments that cannot be meant; as NotBounded for a model with an operation that is not known.
    """
    checks.one_of(method, ("interval", "crown-interval", "crown", "alpha"), "method")
    threat.check(x)
    region = region_of(threat, x)
    network = trace(model, x, region.corner().to(x))
    inner = INNER_STEPS if method == "alpha" else 0
    state = bounded(network, region, method in ("crown", "alpha"), values, method != "interval", inner)
    least, most = (edge.flatten(1) for edge in state.intervals[-1])
    if method == "interval":
        return least, most
    classes = network.nodes[-1].shape.numel()
    a = torch.eye(classes, dtype=torch.float64, device=x.device).repeat(len(x), 1)
    rows = torch.arange(len(x), device=x.device).repeat_interleave(classes)
    steps = ALPHA_STEPS if method == "alpha" else 0
    low, high = (sign * state.lowest(sign * a, rows, steps).reshape(len(x), classes) for sign in (1, -1))
    return torch.maximum(low, least), torch.minimum(high, most)


def _stages(method: str, region: Region) -> tuple[str, ...]:
    if method not in ("auto", "split"):
        return (method,)
    cheap = tuple(name for name in METHODS[:3] if name != "lipschitz" or region.p == 2)
    return (*cheap, "crown" if method == "auto" else "split")  # which begins with what crown does


def _lower(name: str, network: Network, region: Region, labels: Tensor, values: int) -> Tensor:
    """Lower bounds [n] on the least margin of these rows by one method."""
    if name == "lipschitz":
        return lipschitz.least_margin(network, region, labels)
    inner = INNER_STEPS if name == "alpha" else 0
    state = bounded(network, region, name in ("crown", "alpha"), values, name != "interval", inner)
    plain = _by_intervals(state, labels)
    if name == "interval":
        return plain
    # Lines can be worse than intervals, where a bend is far from the middle.
    return torch.fmax(plain, least_margin(state, labels, ALPHA_STEPS if name == "alpha" else 0))


def _by_intervals(state: Bounded, labels: Tensor) -> Tensor:
    """Lower bounds [n] on the least margin, each taken as one: its two logits are seldom at their worst together."""
    questions = (part.split(state.at_once(0)) for part in margin_questions(state.network, labels))
    found = torch.cat([state.by_intervals(a, rows) for a, rows in zip(*questions, strict=True)])
    return found.reshape(len(labels), -1).amin(1)


def _by_cuts(network: Network, region: Region, labels: Tensor, values: int, needed: Tensor, parts: int) -> Tensor:
    """Lower bounds [n] on the least margin of these rows, looked for until they are above what is needed."""
    plain = bounded(network, region, values=values)
    lower = least_margin(plain, labels)
    left = (~(lower > needed)).nonzero().flatten()
    if not len(left):
        return lower
    known = [(low[left], high[left]) for low, high in plain.intervals]
    state = bounded(network, region[left], values=values, inner=INNER_STEPS, known=known)
    a, rows = margin_questions(network, labels[left])
    found = state.lowest(a, rows)
    hard = ~(found > needed[left][rows])
    if bool(hard.any()):
        answer = Search(state, a[hard], rows[hard], needed[left][rows[hard]]).run(parts)
        found[hard] = torch.fmax(found[hard], answer.lower)
    lower[left] = torch.fmax(lower[left], found.reshape(len(left), -1).amin(1))
    return lower


def least_margin(state: Bounded, labels: Tensor, steps: int = 0) -> Tensor:
    """Lower bounds [n] on the logit of each label minus the largest other, from linear bounds.

    Args:
        state: a bounded network, n rows.
        labels: int64 [n].
        steps: of the slopes' optimiser.
    """
    a, rows = margin_questions(state.network, labels)
    return state.lowest(a, rows, steps).reshape(len(labels), -1).amin(1)


def margin_questions(network: Network, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The logit of each label minus each other, as coefficients [n * (classes - 1), classes], and each one's row."""
    like = network.nodes[-1].like
    one_hot = torch.eye(network.nodes[-1].shape.numel(), dtype=like.dtype, device=labels.device)
    rows, others = (one_hot[labels] == 0).nonzero(as_tuple=True)
    return one_hot[labels[rows]] - one_hot[others], rows
