"""What was measured after each epoch, and what it gives away: overfitting that is catastrophic, or merely robust."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

COLLAPSE = 0.5  # of the best robust accuracy, and
FALL = 0.1  # so much in all
GAP = 0.3  # between accuracy under one step and under several, where robust accuracy never rose
DECLINE = 0.03  # from the best evaluation to the last, and more than two standard errors


@dataclass(frozen=True)
class Epoch:
    """One epoch.

    Attributes:
        epoch: its number, from 1.
        loss: the mean of the recipe's loss over the rows trained on.
        rate: the learning rate at its end.
        seconds: how long it took, the evaluation included.
        judged: how many rows were evaluated; None where nothing was, as below.
        clean_loss: cross-entropy on clean rows that were not trained on.
        clean: accuracy on these.
        robust: accuracy on the same rows under the evaluation's attack.
        one_step: under FGSM at the same radius.
    """

    epoch: int
    loss: float
    rate: float
    seconds: float
    judged: int | None = None
    clean_loss: float | None = None
    clean: float | None = None
    robust: float | None = None
    one_step: float | None = None

    @property
    def score(self) -> float | None:
        """What is compared: robust accuracy where there is one, else clean accuracy."""
        return self.clean if self.robust is None else self.robust


def best(history: Sequence[Epoch]) -> Epoch | None:
    """The first epoch of the best score; None where nothing was evaluated."""
    judged = [epoch for epoch in history if epoch.score is not None]
    return max(judged, key=lambda epoch: epoch.score or 0.0, default=None)


def since_best(history: Sequence[Epoch]) -> int:
    """How many evaluations came after the best one."""
    top = best(history)
    return sum(epoch.score is not None and epoch.epoch > top.epoch for epoch in history) if top else 0


def doubts(history: Sequence[Epoch], adversarial: bool = True) -> list[str]:
    """What the history gives away, in plain words; empty where nothing is wrong.

    Args:
        history: the epochs.
        adversarial: whether the recipe trains against a threat; of others, no robust accuracy is expected.
    """
    if not adversarial:
        return []
    return [said for check in (catastrophic_overfitting, robust_overfitting) if (said := check(history))]


def catastrophic_overfitting(history: Sequence[Epoch]) -> str | None:
    """Robust accuracy under several steps collapses while that under one step stays or rises (Wong, Rice and Kolter,
    2020, arXiv 2001.03994; Andriushchenko and Flammarion, 2020, arXiv 2007.02617), or never rises with it.
    """
    remedy = (
        "the network learnt to mislead the one step that it is trained on. Take more steps, a smaller step or radius, "
        "or fewer epochs at a lower rate."
    )
    top: Epoch | None = None
    for epoch in history:
        if epoch.robust is None or epoch.one_step is None:
            continue
        if top is not None and top.robust is not None and top.one_step is not None:
            fell = epoch.robust <= COLLAPSE * top.robust and top.robust - epoch.robust >= FALL
            if fell and epoch.one_step >= top.one_step - FALL / 2:
                return (
                    f"catastrophic overfitting: from epoch {top.epoch} to {epoch.epoch} robust accuracy fell from "
                    f"{top.robust:.1%} to {epoch.robust:.1%}, while accuracy under one step went from "
                    f"{top.one_step:.1%} to {epoch.one_step:.1%}: {remedy}"
                )
        if top is None or top.robust is None or epoch.robust > top.robust:
            top = epoch
    judged = [epoch for epoch in history if epoch.robust is not None and epoch.one_step is not None]
    robust, one_step = (judged[-1].robust or 0.0, judged[-1].one_step or 0.0) if judged else (0.0, 0.0)
    if one_step - robust >= GAP and robust <= COLLAPSE * one_step:
        return (
            f"catastrophic overfitting: in the end accuracy is {one_step:.1%} under one step and {robust:.1%} under "
            f"several: {remedy}"
        )
    return None


def robust_overfitting(history: Sequence[Epoch]) -> str | None:
    """Robust accuracy on other rows declines while the loss on those trained on goes on falling (Rice, Wong and
    Kolter, 2020, arXiv 2002.11569).
    """
    judged = [epoch for epoch in history if epoch.robust is not None]
    top = best(judged)
    if top is None or top is judged[-1]:
        return None
    last = judged[-1]
    high, low = top.robust or 0.0, last.robust or 0.0
    noise = 2 * (high * (1 - high) / (top.judged or 1)) ** 0.5
    if high - low < max(DECLINE, noise) or last.loss >= top.loss:
        return None
    if catastrophic_overfitting(history):
        return None
    return (
        f"robust overfitting: robust accuracy was best after epoch {top.epoch} ({top.robust:.1%}) and is "
        f"{last.robust:.1%} after epoch {last.epoch}, though the training loss fell from {top.loss:.3g} to "
        f"{last.loss:.3g}. The best weights were kept; fewer epochs would do."
    )
