"""The judge, asked about the rows of a batch: by one draw, or by most of several where the model is random."""

from __future__ import annotations

import torch
from torch import Tensor

from struthio.attacks.base import no_trace
from struthio.audit.heard import Heard, Refused
from struthio.audit.setting import Setting
from struthio.goals import Untargeted, against
from struthio.losses import Margin
from struthio.rows import RowGenerator


class Jury:
    """As many fresh draws of the judge as decide about a row.

    Args:
        setting: what was decided.
        labels: the classes of the batch's rows, int64 [n].
        generator: their random numbers.
    """

    def __init__(self, setting: Setting, labels: Tensor, generator: RowGenerator) -> None:
        self.judge, self.draws, self.abstains = Heard(setting.judge), setting.draws, setting.abstains
        self.labels, self.generator = labels, generator

    @torch.no_grad()
    def ask(self, x: Tensor, rows: Tensor | slice, draw: int, clean: bool = False) -> tuple[Tensor, Tensor, Tensor]:
        """The class (that of most draws), whether it is wrong, and the mean margin, [n] each.

        A clean row on which the model abstains is wrong too; an adversarial one is not.

        Args:
            x: inputs [n, ...].
            rows: which rows of the batch they belong to.
            draw: another number gives a random model other random numbers.
            clean: whether nothing was changed. Clean rows on which the model says NaN, which is no class, are Refused.
        """
        labels = self.labels[rows]
        goal = against(labels, self.abstains)
        wrongly = Untargeted(labels) if clean else goal
        if self.draws == 1:
            outputs = self.judge(x)
            if clean:
                _say_something(outputs)
            return outputs.argmax(1), wrongly.success(outputs), goal.score(Margin(), outputs)
        answers = self._draws(x, rows, draw)
        if clean:
            _say_something(answers.nanmean(0))
        answered = (~answers.isnan().any(2)).any(0)
        classes = answers.argmax(2).mode(0).values
        margin = torch.stack([goal.score(Margin(), one) for one in answers]).mean(0)
        unnoticed = True if clean or not self.abstains else classes != answers.shape[2] - 1
        return classes, (classes != labels) & answered & unnoticed, margin

    @torch.no_grad()
    def suspicion(self, x: Tensor, draw: int) -> tuple[Tensor, Tensor]:
        """How far abstaining is above the strongest class, the mean of all draws, and whether most say a wrong one."""
        answers = self._draws(x, slice(None), draw)
        classes, abstaining = answers[..., :-1], answers[..., -1]
        suspicion = (abstaining - classes.amax(2)).double().mean(0)
        return suspicion.cpu(), (classes.argmax(2).mode(0).values != self.labels).cpu()

    def _draws(self, x: Tensor, rows: Tensor | slice, draw: int) -> Tensor:
        """All draws' answers [draws, n, classes]."""
        with no_trace(self.generator[rows].fold(10_000 + draw)):
            return torch.stack([self.judge(x) for _ in range(self.draws)])


def _say_something(outputs: Tensor) -> None:
    if bool(outputs.isnan().any()):
        raise Refused("the scores hold NaN")
