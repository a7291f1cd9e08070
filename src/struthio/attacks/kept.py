"""What is kept of every answer, so that an attack which is cut short ends with the best that it has asked about."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from struthio.attacks.smallest import Smallest
from struthio.losses import Margin
from struthio.meter import Ended, Metered
from struthio.rows import where_rows
from struthio.types import Goal, Threat


class Kept:
    """The witness of a search: for each row the best allowed input that was asked about, and its answer.

    A win beats what did not win; of wins the smallest counts, of others the highest margin.

    Attributes:
        found: the best inputs.
        outputs: their answers [n, classes], NaN where a row was never asked about; None until something was.
        cut: the rows that could not pay for a question, bool [n].

    Args:
        x: the inputs [n, ...].
        goal: what counts as success.
        threat: what is allowed.
    """

    def __init__(self, x: Tensor, goal: Goal, threat: Threat) -> None:
        self.x, self.goal, self.threat = x, goal, threat
        self.found = Smallest(x)
        self.outputs: Tensor | None = None
        self.cut = torch.zeros(len(x), dtype=torch.bool, device=x.device)

    @torch.no_grad()
    def see(self, ids: Tensor, x: Tensor, outputs: Tensor) -> None:
        """Keep what is better: rows (their numbers [n]) were answered on x [k * n, ...]."""
        if x.shape[1:] != self.x.shape[1:]:
            return  # a view of another size, which is no answer of the attack
        crowd = ids.repeat(len(x) // len(ids))
        origin, goal, threat = self.x[crowd], self.goal[crowd], self.threat[crowd]
        allowed = threat.allows(origin, x) & ~outputs.isnan().any(1)
        won = goal.success(outputs) & allowed
        size = threat.size(origin, x).double().masked_fill(~won, torch.inf).reshape(-1, len(ids))
        score = goal.score(Margin(), outputs).double().masked_fill(~allowed, -torch.inf).reshape(-1, len(ids))
        smallest, highest = size.argmin(0), score.argmax(0)
        some_won, place = size.amin(0).isfinite(), torch.arange(len(ids), device=ids.device)
        which = torch.where(some_won, smallest, highest)
        chosen = which * len(ids) + place
        better = self.found.offer(ids, x[chosen], size[which, place], score[which, place], some_won)
        if self.outputs is None:
            self.outputs = outputs.new_full((len(self.x), outputs.shape[1]), torch.nan)
        self.outputs[ids[better]] = outputs[chosen[better]].to(self.outputs.dtype)

    def ending(self, search: Callable[[], Tensor]) -> Tensor:
        """What the search returns; where it was cut short, what was kept. Raises Ended where nothing was answered."""
        try:
            return where_rows(self.cut, self.found.value, search().detach())
        except Ended as ended:
            if self.outputs is None and not bool(self.cut.any()):
                raise ended
            return self.found.value

    @torch.no_grad()
    def judged(self, judge: Metered, x_adv: Tensor) -> tuple[Tensor, Tensor]:
        """What to return and the model's outputs on it; if it answers no more, what was kept with its answers."""
        try:
            return x_adv, judge(x_adv)
        except Ended as ended:
            if self.outputs is None:
                raise ended
            return self.found.value, self.outputs


def behind_a_wire(model: object) -> bool:
    """Whether a model, or the one inside a view of it, may stop answering: it says `remote = True`."""
    while model is not None:
        if getattr(model, "remote", False):
            return True
        model = getattr(model, "model", None)
    return False
