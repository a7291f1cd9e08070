"""Free adversarial training: each batch is replayed, and every backward moves both the weights and the inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.rows import per_row
from struthio.train.adversarial import WithThreat
from struthio.train.recipe import Moment
from struthio.types import Threat

CHANGE, PLACE = "free: change", "free: place"  # what is kept: z, and the step with how many rows of it were seen


@dataclass(frozen=True)
class FreeAT(WithThreat):
    """J(x + z, y), whose one backward gives the slope for the weights and that for z, at the cost of plain training.

    z goes on from step to step: through the replays of a batch, and into the next batch, row by row as they stand
    there. It is kept in the moment, moves when `loss.backward()` is called, and is saved with every checkpoint. Train
    for 1 / replays of the usual epochs. As in the code of Wong et al. (2020, arXiv 2001.03994), z is also projected
    into the limits of each input.

    Args:
        replays: how many steps are taken on each batch, m in the paper: 8 for CIFAR-10 at 8/255, 4 for ImageNet.
        step: how far z moves as a share of the radius.
    """

    paper: ClassVar[str] = (
        "Shafahi, Najibi, Ghiasi, Xu, Dickerson, Studer, Davis, Taylor, Goldstein, 2019, arXiv 1904.12843"
    )

    replays: int = 8
    step: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        checks.count(self.replays, "replays")
        checks.positive(self.step, "step")

    def loss(self, model: nn.Module, x: Tensor, y: Tensor, moment: Moment) -> Tensor:
        """The mean cross-entropy at x + z; its backward moves z."""
        threat, kept = self.now(x, moment), moment.kept
        still, first = threat.zero(x), _place(moment)
        last = kept.get(CHANGE, still[:0])
        if last.shape[1:] != still.shape[1:]:
            last = still[:0]
        here = last[first : first + len(still)]
        z = threat.project(x, torch.cat([here, still[len(here) :]])).requires_grad_()

        def move(slope: Tensor) -> None:
            moved = self._moved(threat, x, z.detach(), slope)
            kept[CHANGE] = torch.cat([last[:first], moved, last[first + len(still) :]])
            kept[PLACE] = torch.tensor([moment.step, first + len(still)])

        z.register_hook(move)
        return F.cross_entropy(model(threat.apply(x, z)), y)

    @torch.no_grad()
    def _moved(self, threat: Threat, x: Tensor, z: Tensor, slope: Tensor) -> Tensor:
        slope = slope.nan_to_num(0.0, 0.0, 0.0)  # where half precision overflowed, the optimiser does not step either
        return threat.project(x, z + self.step * per_row(threat.reach, z) * threat.steepest(x, z, slope))


def _place(moment: Moment) -> int:
    """Where in the batch these rows begin: a batch may come in parts, each with its backward."""
    step, seen = moment.kept.get(PLACE, torch.tensor([-1, 0])).tolist()
    return int(seen) if step == moment.step else 0
