"""One change for many inputs, by stochastic gradient ascent: each batch takes one steepest step."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar

from torch import Tensor

from struthio import checks
from struthio.attacks.shared import Batches, Universal
from struthio.attacks.shared_fit import Fitting, Progress
from struthio.attacks.task import Task
from struthio.gradients import Autograd
from struthio.losses import CrossEntropy
from struthio.types import Gradient, Loss, Model, Threat


@dataclass(frozen=True)
class UniversalGradient:
    """A universal change by stochastic gradient: z climbs the mean loss of a batch, a steepest step at a time.

    The step is the steepest of the norm: signs in Linf, the slope at length 1 in L2. The loss of a row is clipped, so
    that rows which are fooled already pull no more. Cheaper and stronger than `UniversalDeepFool`: one forward and one
    backward a row and pass (and one forward more for the clean class).

        noise = UniversalGradient().fit(model, data.batches, Linf(10 / 255))
        noise.fooling(model, held_out.batches).rate

    Args:
        passes: how many times all rows are gone through.
        step: the length of a step, as a share of the radius.
        clip: beta, where the loss of a row ends; the paper's 9 is for cross-entropy.
        batch_size: how many rows share a step.
        loss: what is increased.
        gradient: how the slope is found.
    """

    paper: ClassVar[str] = "Shafahi, Najibi, Xu, Dickerson, Davis, Goldstein, 2020, arXiv 1811.11304"
    norms: ClassVar[tuple[str, ...]] = ("linf", "l2")

    passes: int = 10
    step: float = 0.1
    clip: float = 9.0
    batch_size: int = 32
    loss: Loss = field(default_factory=CrossEntropy)
    gradient: Gradient = field(default_factory=Autograd)

    def __post_init__(self) -> None:
        checks.count(self.passes, "passes")
        checks.positive(self.step, "step")
        checks.positive(self.clip, "clip")
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
        """Find one change for all rows; the arguments are those of `UniversalDeepFool.fit`.

        Raises:
            UserError: where an argument cannot be meant, or the model passes no gradient.
        """
        checks.norm_known(getattr(threat, "norm", None), self.norms, type(self).__name__)
        rows = Fitting(model, batches, threat, target, self.batch_size, seed)
        return rows.run(self._update, self.passes, None, progress)

    def _update(self, task: Task, z: Tensor, own: Threat) -> tuple[Tensor, Tensor]:
        every = z.expand_as(task.x)

        def clipped(outputs: Tensor) -> Tensor:
            return task.goal.score(self.loss, outputs).clamp(max=self.clip)

        slope, outputs = self.gradient(task.model, task.see, every, clipped, task.generator)
        way = own.steepest(z, z, task.threat.useful(task.x, every, slope).sum(0, keepdim=True))
        return own.project(z, z + self.step * own.eps * way), task.goal.success(outputs)
