"""One change for many inputs, with DeepFool: each row that still holds pushes the change over its own nearest wall."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from struthio import checks
from struthio.attacks.minimal.deepfool import cross
from struthio.attacks.shared import Batches, Universal
from struthio.attacks.shared_fit import Fitting, Progress
from struthio.attacks.smallest import Smallest
from struthio.attacks.task import Task, remaining
from struthio.types import Model, Threat


@dataclass(frozen=True)
class UniversalDeepFool:
    """A universal change by DeepFool: z moves by what each row that it does not fool still lacks, and is projected.

    The paper goes row by row. Here the rows of a batch look for their walls together, from the same z; then z moves in
    turn onto the plane of each wall, from wherever the rows before have left it, which asks the model nothing. With
    `batch_size=1` this is the paper's algorithm. Fitting swings from pass to pass, so the best pass is kept.

    It is weak where the radius is close to the distance of single rows from their walls: the steps of a few rows fill
    the ball, and the projection of each undoes those before. `UniversalGradient` is not, and is then to be preferred.

        noise = UniversalDeepFool().fit(model, data.batches, Linf(10 / 255))
        noise.fooling(model, held_out.batches).rate

    Args:
        passes: the most times that all rows are gone through.
        unfooled: the paper's delta, the share of rows that may hold: fitting stops there.
        steps: the most steps of DeepFool; a row that needs more does not move z.
        overshoot: by what share DeepFool goes past a wall.
        classes: how many of the likeliest classes DeepFool looks at.
        batch_size: how many rows look for their walls together.
    """

    paper: ClassVar[str] = Universal.paper
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    passes: int = 10
    unfooled: float = 0.2
    steps: int = 10
    overshoot: float = 0.02
    classes: int = 10
    batch_size: int = 32

    def __post_init__(self) -> None:
        checks.count(self.passes, "passes")
        checks.share(1 - self.unfooled, "1 - unfooled")
        checks.count(self.steps, "steps")
        checks.not_negative(self.overshoot, "overshoot")
        checks.count(self.classes, "classes", 2)
        checks.count(self.batch_size, "batch_size")

    def fit(
        self,
        model: Model,
        batches: Batches,
        threat: Threat,
        *,
        target: int | None = None,
        seed: int = 0,
        progress: Progress | None = None,
    ) -> Universal:
        """Find one change for all rows, in memory that does not grow with their number.

        Args:
            model: from a batch to logits [n, classes], in evaluation mode, with its normalisation inside.
            batches: from a batch size, the batches (ids [b], x [b, ...], labels [b]) of a data set, such as
                `data.batches`; or any iterable of them that can be read again, in an order mixed anew if it likes. Of
                the labels nothing is used: a row is fooled when its class changes.
            threat: a ball in Linf or L2 with one radius, perhaps `Masked` or on `Levels`.
            target: the class that all rows are to be taken for; None for any but their own.
            seed: of random numbers, which only a random model asks for.
            progress: called after each pass with the number of passes done and the share of rows fooled.

        Raises:
            UserError: where an argument cannot be meant.
            Stopped: after Ctrl-C, a KeyboardInterrupt whose `found` is the change as it was then.
        """
        checks.norm_known(getattr(threat, "norm", None), self.norms, type(self).__name__)
        rows = Fitting(model, batches, threat, target, self.batch_size, seed)
        return rows.run(self._update, self.passes, 1 - self.unfooled, progress)

    def _update(self, task: Task, z: Tensor, own: Threat) -> tuple[Tensor, Tensor]:
        with torch.no_grad():
            won = task.goal.success(task.model(task.see(z.expand_as(task.x))))
        found, task = Smallest(task.x), task[remaining(won)]
        if not len(task):
            return z, won
        free = Task(task.model, task.x, task.goal, task.threat.at(torch.inf), task.generator, task.rows)
        start = free.threat.project(task.x, z.expand_as(task.x))
        steps = cross(free, found, start, self.steps, self.overshoot, self.classes) - start
        return onto_planes(z, steps[found.won[task.rows]], own), won


def onto_planes(z: Tensor, steps: Tensor, own: Threat) -> Tensor:
    """Z moved in turn along each of the steps that were found at z, as far as is still needed to its end's plane."""
    start = z
    for step in steps.split(1):
        lacks = 1 - ((z - start) * step).sum() / step.square().sum()
        z = own.project(z, z + lacks.clamp(0, 1) * step)
    return z
