"""Several models that answer as one: by the average of their probabilities, or by a vote."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any, ClassVar, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from struthio import checks
from struthio.checks import UserError
from struthio.defenses.base import Defense
from struthio.defenses.training import USUAL, Course, Progress, fresh, train

PAPER = "He et al., 2017, arXiv 1706.04701"


class Average(Defense):
    """Logits of members [n, members, classes] to the logarithm of their mean probabilities, [n, classes]."""

    paper: ClassVar[str] = PAPER

    def forward(self, logits: Tensor) -> Tensor:
        """Log-probabilities [n, classes]."""
        mean: Tensor = logits.log_softmax(2).logsumexp(1)
        return mean - torch.tensor(float(logits.shape[1])).log().to(logits)


class Vote(Defense):
    """Logits of members [n, members, classes] to votes a class [n, classes], whose gradient is zero everywhere.

    Classes that are level are settled by the mean probabilities, which count for less than a vote. The stand-in is
    `Average`.
    """

    paper: ClassVar[str] = PAPER

    def forward(self, logits: Tensor) -> Tensor:
        """Votes [n, classes], of which ties are broken by less than one vote."""
        votes = F.one_hot(logits.argmax(2), logits.shape[2]).sum(1)
        return (votes + logits.softmax(2).mean(1) / 2).detach()

    def stand_in(self, logits: Tensor) -> Tensor:
        """The average of the members' probabilities."""
        average: Tensor = Average()(logits)
        return average


class Ensemble(Defense):
    """Several classifiers that answer as one. Ensembles of weak defences are weak: He et al., 2017, arXiv 1706.04701.

    Members that are built differently differ more in their mistakes; `most_diverse` chooses among them.

    Args:
        members: classifiers of the same classes, of any build.
        combine: "average" of their probabilities, or "vote".
    """

    paper: ClassVar[str] = PAPER

    def __init__(self, members: Sequence[nn.Module], combine: str = "vote") -> None:
        super().__init__()
        checks.one_of(combine, ("average", "vote"), "combine")
        if not members:
            raise UserError("an ensemble needs at least one member.")
        self.members = nn.ModuleList(members)
        self.combine: nn.Module = Vote() if combine == "vote" else Average()

    @classmethod
    def around(cls, model: nn.Module, *options: Any, **named: Any) -> nn.Module:
        """The model as a member, and those that are named: `Ensemble.around(net, [other])`."""
        others, *rest = options or (named.pop("members", ()),)
        whole = cls([model, *others], *rest, **named)
        whole.training = whole.combine.training = model.training
        return whole

    def forward(self, x: Tensor) -> Tensor:
        """Log-probabilities or votes, [n, classes]."""
        combined: Tensor = self.combine(torch.stack([member(x) for member in self.members], 1))
        return combined

    def fit(self, x: Tensor, y: Tensor, *, course: Course = USUAL, progress: Progress | None = None) -> Self:
        """Train one member after another by cross-entropy, each from fresh weights and with a seed of its own.

        Args:
            x: the inputs [n, ...].
            y: their classes, int64 [n].
            course: how long and how fast each member is trained; member i takes the seed plus i.
            progress: called after each pass of each member with an `Epoch`.

        Returns:
            The ensemble itself, in evaluation mode.

        Raises:
            UserError: where the rows do not fit each other, or training diverges.
        """
        checks.classes(y, len(x), "labels")
        for index, member in enumerate(self.members):
            own = Course(course.epochs, course.batch_size, course.lr, course.seed + index)
            fresh(member, own.seed)
            _learn(member, x, y, own, progress)
        return self.eval()


def _learn(member: nn.Module, x: Tensor, y: Tensor, course: Course, progress: Progress | None) -> None:
    train(member, lambda rows, labels: F.cross_entropy(member(rows), labels), (x, y), course, progress)


def kappa(first: Tensor, second: Tensor) -> float:
    """Cohen's kappa of two lists of classes [n]: 1 where they always agree, 0 where they agree as by chance."""
    both = torch.stack((first, second))
    shares = F.one_hot(both).double().mean(1)
    agreed, expected = float((first == second).double().mean()), float((shares[0] * shares[1]).sum())
    return 1.0 if expected == 1 else (agreed - expected) / (1 - expected)


def most_diverse(answers: Tensor, size: int) -> tuple[int, ...]:
    """Which members agree least: the subset of this size with the lowest mean kappa over its pairs.

    Args:
        answers: the classes that each member gives to the same rows, int64 [members, n]; best rows that are hard.
        size: how many to choose, at least 2.

    Raises:
        UserError: where there are fewer members than wanted.
    """
    if not 2 <= size <= len(answers):
        raise UserError(f"{size} of {len(answers)} members are to be chosen; from 2 to {len(answers)} can be.")
    pairs = {pair: kappa(answers[pair[0]], answers[pair[1]]) for pair in combinations(range(len(answers)), 2)}
    return min(
        combinations(range(len(answers)), size), key=lambda some: sum(pairs[pair] for pair in combinations(some, 2))
    )
