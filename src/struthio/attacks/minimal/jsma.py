"""The saliency map: the pair of values that raises the target most and the others least is moved all the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.base import Attack
from struthio.attacks.minimal.walls import home, offer, rivals, room
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.checks import UserError
from struthio.goals import Targeted
from struthio.meter import Metered
from struthio.rows import RowGenerator
from struthio.types import Goal, Threat


@dataclass(frozen=True)
class JSMA(Attack):
    """Few changed values, two a step: the pair with the greatest -alpha beta, where alpha > 0 and beta < 0.

    Alpha is the sum of the pair's slopes of the target's output, beta that of all other outputs. A value that is at
    its limit is out of the search. The attack needs a target: where the goal is to get away from a class, it leads to
    each of the `targets` likeliest others in turn, and any wrong class is a win.

    Args:
        theta: how far a value is moved in one step, in units of the input.
        upsilon: the share of the values that may be changed; two a step, so steps = upsilon * values / 2.
        direction: "up" adds theta, "down" takes it away, "both" chooses for each value of a pair.
        softmax: whether outputs are probabilities (JSMA-F) or logits (JSMA-Z).
        targets: how many classes are tried where the goal names none.
    """

    paper: ClassVar[str] = "Papernot, McDaniel, Jha, Fredrikson, Celik, Swami, 2016, arXiv 1511.07528"
    norms: ClassVar[tuple[str, ...]] = ("l0",)

    theta: float = 1.0
    upsilon: float = 0.145
    direction: str = "up"
    softmax: bool = True
    targets: int = 1

    def __post_init__(self) -> None:
        checks.positive(self.theta, "theta")
        checks.share(self.upsilon, "upsilon")
        checks.one_of(self.direction, ("up", "down", "both"), "direction")
        checks.count(self.targets, "targets")

    def search(self, model: Metered, x: Tensor, goal: Goal, threat: Threat, generator: RowGenerator) -> Tensor:
        """The win of fewest changes. Raises UserError where the goal has neither a target nor a class to leave."""
        if not isinstance(goal, Targeted) and home(goal) is None:
            raise UserError(f"JSMA leads to one class; its goal must be Targeted, Untargeted or Drift, not {goal!r}.")
        task, found = Task.whole(model, x, goal, threat, generator), Smallest(x)
        with torch.no_grad():
            outputs = task.model(task.see(threat.zero(x)))
        stay = remaining(offer(found, task, threat.zero(x), outputs))
        classes = goal.targets[:, None] if isinstance(goal, Targeted) else rivals(goal, outputs, self.targets)
        if len(stay) and classes is not None:
            for target in classes[stay].unbind(1):
                self._run(task[stay], found, target)
        return found.inside(x, threat)

    def _run(self, task: Task, found: Smallest, target: Tensor) -> None:
        """Pair after pair, until the goal is reached or no pair is left."""
        z = task.threat.zero(task.x)
        for _ in range(int(self.upsilon * z[0].numel() / 2)):
            alpha, beta, outputs = self._slopes(task, z, target)
            won = offer(found, task, z, outputs)
            low, high = room(task.threat, task.x)
            up = ((z < high) & (self.direction != "down")).flatten(1)
            down = ((z > low) & (self.direction != "up")).flatten(1)
            pair, found_one = best_pair(
                torch.cat([alpha, -alpha], 1), torch.cat([beta, -beta], 1), torch.cat([up, down], 1)
            )
            step = torch.zeros_like(torch.cat([alpha, alpha], 1)).scatter(1, pair, self.theta)
            step = (step[:, : alpha.shape[1]] - step[:, alpha.shape[1] :]).reshape(z.shape)
            z = (z + step).clamp(low, high)
            stay = remaining(won | ~found_one)
            task, z, target = task[stay], z[stay], target[stay]
            if not len(stay):
                return
        with torch.no_grad():
            offer(found, task, z, task.model(task.see(z)))

    def _slopes(self, task: Task, z: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Of the target's output and of the sum of the others, each [n, values]; and the outputs."""
        with torch.enable_grad():
            z = z.detach().requires_grad_()
            outputs = task.model(task.see(z))
            if not outputs.requires_grad:
                raise UserError("the model's outputs carry no gradient; JSMA needs one. Attack the model itself.")
            # Of probabilities alpha + beta is 0, and their logarithm ranks pairs alike without underflow.
            scores = outputs.log_softmax(1) if self.softmax else outputs
            wanted = scores.gather(1, target[:, None]).sum()
            (alpha,) = torch.autograd.grad(wanted, z, retain_graph=not self.softmax)
            alpha = alpha.nan_to_num(0.0, 0.0, 0.0)
            beta = -alpha if self.softmax else torch.autograd.grad(scores.sum(), z)[0].nan_to_num(0.0, 0.0, 0.0) - alpha
        return alpha.flatten(1), beta.flatten(1), outputs.detach()


def best_pair(alpha: Tensor, beta: Tensor, domain: Tensor) -> tuple[Tensor, Tensor]:
    """The two different values of the domain with the greatest -(alpha sum)(beta sum), alpha sum > 0 > beta sum.

    A value that two others surpass in both slopes is in no best pair: either could stand for it. So only those in the
    first two fronts are compared with each other, which needs no square of the number of values.

    Args:
        alpha: slopes of the target's output, [n, d].
        beta: slopes of the other outputs, [n, d].
        domain: which values may be chosen, bool [n, d].

    Returns:
        Their places, [n, 2], and whether there is such a pair, [n].
    """
    gain = torch.where(domain, -beta, -torch.inf)
    height, order = torch.where(domain, alpha, -torch.inf).sort(stable=True, dim=1, descending=True)
    gain = gain.gather(1, order)
    first = _front(gain)
    kept = first | _front(gain.masked_fill(first, -torch.inf))
    count = max(2, int(kept.sum(1).max()))
    places = (~kept).to(torch.int8).sort(stable=True, dim=1).indices[:, :count]
    kept, height, gain = kept.gather(1, places), height.gather(1, places), gain.gather(1, places)
    high, low = (values[:, :, None] + values[:, None, :] for values in (height, gain))
    fits = (kept[:, :, None] & kept[:, None, :] & (high > 0) & (low > 0)).triu(1)
    value, which = torch.where(fits, high * low, -torch.inf).flatten(1).max(1)
    chosen = torch.stack([which // count, which % count], 1)
    return order.gather(1, places.gather(1, chosen)), value > -torch.inf


def _front(gain: Tensor) -> Tensor:
    """Which entries are above all before them, [n, d]."""
    before = gain.cummax(1).values.roll(1, 1)
    before[:, 0] = -torch.inf
    return gain > before
