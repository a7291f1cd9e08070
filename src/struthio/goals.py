"""What counts as success: goals turn outputs into a bool a row, and give a loss its sign."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from struthio import checks
from struthio.checks import UserError
from struthio.rows import Rows, pick
from struthio.types import Goal, Loss, Model


def _known(outputs: Tensor, classes: Tensor, what: str) -> None:
    if int(classes.max()) >= outputs.shape[1] or int(classes.min()) < 0:
        raise UserError(
            f"{what} run from {int(classes.min())} to {int(classes.max())}, but the model knows classes "
            f"0 to {outputs.shape[1] - 1}. Check that labels and model use the same class order."
        )


def _answered(outputs: Tensor) -> Tensor:
    """Rows without NaN, bool [n]: a model that breaks down has not been won over."""
    return ~outputs.isnan().any(1)


def _further(first: Tensor, second: Tensor) -> Tensor:
    """The smaller of two scores, with a slope that blends both where they are about equal, [n].

    The slope of a minimum jumps from one side to the other: a search zigzags across the ridge where both are equal and
    gets nowhere along it. Here it is the mean of both slopes on the ridge and goes over to that of the smaller score as
    they part, in units of how far this one is from zero; so no scale of the loss counts. The value stays the minimum.
    """
    least = torch.minimum(first, second)
    share = ((second - first) / least.abs().clamp(min=1e-12)).sigmoid().nan_to_num().detach()
    mixed = share * first + (1 - share) * second
    return torch.where(mixed.isfinite(), least.detach() + (mixed - mixed.detach()), least)


@dataclass(frozen=True)
class Untargeted:
    """Any class but the label.

    Args:
        labels: the true classes, int64 [n].
        toward: classes [n] that lead the search; any wrong class is still a success (the targets of targeted Auto-PGD).
    """

    labels: Tensor
    toward: Tensor | None = None

    def check(self, x: Tensor) -> None:
        """Raise UserError where there is not one whole class number a row."""
        checks.classes(self.labels, len(x), "labels", x.device)
        if self.toward is not None:
            checks.classes(self.toward, len(x), "leading targets", x.device)

    def success(self, outputs: Tensor) -> Tensor:
        """Rows whose strongest class is not the label, bool [n]."""
        return (outputs.argmax(1) != self.labels) & _answered(outputs)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The loss away from the labels (or toward the leading classes), [n]."""
        if self.toward is None:
            return loss.away(outputs, self.labels)
        return loss.toward(outputs, self.toward, self.labels)

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where a label is not a class of the model."""
        _known(outputs, self.labels, "labels")
        if self.toward is not None:
            _known(outputs, self.toward, "leading targets")

    def __getitem__(self, rows: Rows) -> Untargeted:
        return Untargeted(self.labels[rows], pick(self.toward, rows))


@dataclass(frozen=True)
class Targeted:
    """One chosen class.

    Args:
        targets: the wanted classes, int64 [n].
        labels: the true classes [n], where known: a target equal to the label is refused, and losses may use it.
    """

    targets: Tensor
    labels: Tensor | None = None

    def check(self, x: Tensor) -> None:
        """Raise UserError where targets do not fit the rows, or are the true classes."""
        checks.classes(self.targets, len(x), "targets", x.device)
        if self.labels is None:
            return
        checks.classes(self.labels, len(x), "labels", x.device)
        same = (self.targets == self.labels).nonzero().flatten().tolist()
        if same:
            raise UserError(
                f"the target is the true class in {len(same)} of {len(x)} rows (first: row {same[0]}, class "
                f"{int(self.targets[same[0]])}). Choose another target, or leave these rows out."
            )

    def success(self, outputs: Tensor) -> Tensor:
        """Rows whose strongest class is the target, bool [n]."""
        return (outputs.argmax(1) == self.targets) & _answered(outputs)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The loss toward the targets, [n]."""
        return loss.toward(outputs, self.targets, self.labels)

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where a target is not a class of the model."""
        _known(outputs, self.targets, "targets")
        if self.labels is not None:
            _known(outputs, self.labels, "labels")

    def __getitem__(self, rows: Rows) -> Targeted:
        return Targeted(self.targets[rows], pick(self.labels, rows))


@dataclass(frozen=True)
class Drift:
    """Another answer than the model gave before; no labels are needed.

    Args:
        outputs: the outputs on the clean inputs, [n, classes]. A divergence loss compares with all of them, any other
            loss with their strongest class.
    """

    outputs: Tensor

    def check(self, x: Tensor) -> None:
        """Raise UserError where there is not one row of clean outputs for each input."""
        checks.outputs(self.outputs, len(x))
        checks.beside(self.outputs, x.device, "outputs")

    def success(self, outputs: Tensor) -> Tensor:
        """Rows whose strongest class has changed, bool [n]."""
        return (outputs.argmax(1) != self.outputs.argmax(1)) & _answered(outputs)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The loss away from the clean outputs, [n]."""
        drift = getattr(loss, "drift", None)
        if drift is not None:
            score: Tensor = drift(outputs, self.outputs)
            return score
        return loss.away(outputs, self.outputs.argmax(1))

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where the model now has another number of classes."""
        if outputs.shape[1] != self.outputs.shape[1]:
            raise UserError(f"clean outputs have {self.outputs.shape[1]} classes, the model {outputs.shape[1]}.")

    def __getitem__(self, rows: Rows) -> Drift:
        return Drift(self.outputs[rows])


@dataclass(frozen=True)
class Both:
    """Two goals at once: both must be reached, and the search works on whichever is further away."""

    first: Goal
    second: Goal

    def check(self, x: Tensor) -> None:
        """Raise UserError where either goal does not fit the rows."""
        self.first.check(x)
        self.second.check(x)

    def success(self, outputs: Tensor) -> Tensor:
        """Rows where both goals are reached, bool [n]."""
        return self.first.success(outputs) & self.second.success(outputs)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The smaller of the two scores, [n]; see `_further`."""
        return _further(self.first.score(loss, outputs), self.second.score(loss, outputs))

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where either goal does not fit the outputs."""
        for goal in (self.first, self.second):
            goal.check_outputs(outputs)

    def __getitem__(self, rows: Rows) -> Both:
        return Both(self.first[rows], self.second[rows])


@dataclass(frozen=True)
class Evade:
    """Reach a goal on a model that may abstain, unnoticed: the last class, abstaining, must not win.

    A model such as `struthio.detectors.Guarded` gives the last of its outputs to abstaining. The search works on
    whichever is further away, the inner goal on the other classes or not being flagged, both in the units of the same
    loss (Carlini and Wagner, 2017, arXiv 1705.07263; Tramer et al., 2020, arXiv 2002.08347).

    Args:
        goal: what is wanted of the classes.
        blend: whether the slope blends both where they are about equal, as a search wants it; False leaves it that of
            the smaller one, which tells what a tiny step does.
    """

    goal: Goal
    blend: bool = True

    def check(self, x: Tensor) -> None:
        """Raise UserError where the inner goal does not fit the rows."""
        self.goal.check(x)

    def success(self, outputs: Tensor) -> Tensor:
        """Rows where the inner goal is reached and the row is not flagged, bool [n]."""
        return self.goal.success(outputs[:, :-1]) & (outputs.argmax(1) != outputs.shape[1] - 1) & _answered(outputs)

    def score(self, loss: Loss, outputs: Tensor) -> Tensor:
        """The smaller of the inner score and the loss away from abstaining, [n]; see `_further`."""
        last = torch.full((len(outputs),), outputs.shape[1] - 1, device=outputs.device)
        least = _further if self.blend else torch.minimum
        return least(self.goal.score(loss, outputs[:, :-1]), loss.away(outputs, last))

    def check_outputs(self, outputs: Tensor) -> None:
        """Raise UserError where the inner goal does not fit the classes."""
        self.goal.check_outputs(outputs[:, :-1])

    def __getitem__(self, rows: Rows) -> Evade:
        return Evade(self.goal[rows], self.blend)


def abstains(model: object) -> bool:
    """Whether the last of a model's outputs is no class but abstaining: it says `abstains = True` (`Guarded`)."""
    return getattr(getattr(model, "original", model), "abstains", False) is True


def against(labels: Tensor, abstains: bool = False) -> Untargeted | Evade:
    """Any class but the label; of a model that abstains, any class but the label and unnoticed."""
    return Evade(Untargeted(labels)) if abstains else Untargeted(labels)


@torch.no_grad()
def least_likely(model: Model, x: Tensor) -> Targeted:
    """The goal of the class that the model finds least likely for each row (Kurakin et al., 2016, arXiv 1607.02533)."""
    outputs = model(x)
    return Targeted(outputs.argmin(1), outputs.argmax(1))
