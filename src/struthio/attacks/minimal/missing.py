"""What is missing to a win: the other half of what Carlini and Wagner weigh against the size of a change."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from struthio.attacks.task import Task
from struthio.losses import Margin
from struthio.rows import per_row
from struthio.types import Gradient


@dataclass(frozen=True)
class Missing:
    """One look at a change z: max(kappa - margin, 0), a row each.

    Attributes:
        x_adv: the inputs that the model was asked about.
        margin: how far the wanted score exceeds the others, [n].
        won: which rows are won with kappa to spare, bool [n].
        amount: what is missing, [n].
        slope: of the amount, in the shape of z; zero where nothing is missing.
        uphill: the slope of the margin, whether anything is missing or not.
    """

    x_adv: Tensor
    margin: Tensor
    won: Tensor
    amount: Tensor
    slope: Tensor
    uphill: Tensor

    @classmethod
    def at(cls, task: Task, gradient: Gradient, z: Tensor, kappa: float) -> Missing:
        """By one forward and one backward."""
        uphill, outputs = task.slope(gradient, Margin(), z)
        margin = task.goal.score(Margin(), outputs)
        amount = (kappa - margin).clamp(min=0).nan_to_num(0.0)
        uphill = uphill.nan_to_num(0.0, 0.0, 0.0)
        slope = -per_row((amount > 0).to(z.dtype), z) * uphill
        won = task.goal.success(outputs) & (margin >= kappa)
        return cls(task.see(z).detach(), margin, won, amount, slope, uphill)
