"""What is heard from a service, as rows of scores in the order of the classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from struthio import checks
from struthio.checks import UserError
from struthio.models.answer import KINDS, by_name, find, usual
from struthio.models.wire import Values

SORTED = 8  # from so many classes on, scores that fall from first to last are hardly in the order of the classes


class Reader:
    """Reads answers, and learns from the first one how many classes there are.

    Attributes:
        outputs: "scores", "probabilities" (percent too) or "labels".
        classes: how many there are; None until known.
        names: of the classes in order, or None.

    Args:
        outputs: as the attribute.
        classes: how many, or their names.
        parse: where the numbers are in an answer, a function from the answer to them, or None for the usual places.
    """

    def __init__(
        self, outputs: str, classes: int | Sequence[str] | None, parse: str | Callable[[Any], Any] | None
    ) -> None:
        checks.one_of(outputs, KINDS, "outputs")
        self.names = None if classes is None or isinstance(classes, int) else tuple(classes)
        self.classes = classes if classes is None or isinstance(classes, int) else len(classes)
        if outputs == "labels" and self.classes is None:
            raise UserError(
                "a service that answers with labels does not say how many there are: classes=10 (--classes 10)."
            )
        self.outputs, self.parse = outputs, parse

    def read(self, answer: Any, rows: int) -> Values:
        """Scores [rows, classes], one-hot for labels. Raises UserError for an odd answer."""
        try:
            if callable(self.parse):
                value = self.parse(answer)
            else:
                value = usual(answer, self.outputs, rows) if self.parse is None else find(answer, self.parse)
            return self._one_hot(value, rows) if self.outputs == "labels" else self._scores(value, rows)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError(f"the answer cannot be read: {type(error).__name__}: {error}") from error

    def _scores(self, value: Any, rows: int) -> Values:
        scores = as_numbers(in_order(value, self.names, rows), rows).astype(np.float64)
        if scores.ndim != 2 or scores.shape[1] < 2:
            raise UserError(
                f"the answer holds numbers of shape {scores.shape}; scores of at least two classes are needed for each "
                "of the inputs. If these are class numbers: outputs='labels' (--outputs labels)."
            )
        if self.classes is not None and scores.shape[1] != self.classes:
            raise UserError(f"the answer holds scores of {scores.shape[1]} classes, not of {self.classes} as before.")
        if self.outputs == "probabilities" and (scores.min() < 0 or not _sums(scores)):
            raise UserError(
                f"the answer holds no probabilities: they run from {scores.min():.4g} to {scores.max():.4g}, and a row "
                f"sums to {scores[0].sum():.4g}. Any numbers are taken as outputs='scores' (--outputs scores)."
            )
        if self.classes is None and scores.shape[1] >= SORTED and (np.diff(scores) < 0).all():
            raise UserError(
                "the scores of every input fall from first to last: they seem to be sorted, and not in the order of "
                "the classes. Let parse (--answer) name the place of names and scores together."
            )
        self.classes = scores.shape[1]
        return scores

    def _one_hot(self, value: Any, rows: int) -> Values:
        value = [value] if rows == 1 and isinstance(value, str) else value
        if isinstance(value, list) and all(isinstance(part, str) for part in value):
            value = [self._number(name) for name in value]
        labels, known = as_numbers(value, rows).reshape(rows, -1), self.classes or 0
        if labels.shape[1] != 1 or (labels != np.round(labels)).any():
            raise UserError(
                "the answer holds no class numbers, one an input. If these are scores: outputs='scores' "
                "(--outputs scores)."
            )
        if labels.min() < 0 or labels.max() >= known:
            raise UserError(
                f"the answer names class {int(labels.max())}, but there are {known}, from 0: classes=... (--classes N)."
            )
        one_hot: Values = np.eye(known)[labels[:, 0].astype(int)]
        return one_hot

    def _number(self, name: str) -> int:
        """The number of a class from its name, or from the number as text."""
        if name in (self.names or ()):
            return (self.names or ()).index(name)
        if name.strip().isdecimal():
            return int(name)
        raise UserError(
            f"the answer names {name!r}, which is none of the {self.classes} classes: classes=[names] "
            "(--classes NAME,NAME,...)."
        )


def _sums(scores: Values) -> bool:
    """Whether every row sums to 1, or to 100 for percent, whose logarithms differ by a constant alone."""
    return any(np.abs(scores.sum(1) / whole - 1).max() <= 0.05 for whole in (1, 100))


def in_order(value: Any, names: Sequence[str] | None, rows: int) -> Any:
    """Scores said by the names of classes, as lists in the order of the classes; any other value as it is.

    A row is `{"cat": 0.9, "dog": 0.1}` or `[{"label": "dog", "score": 0.1}, {"label": "cat", "score": 0.9}]`, in any
    order. Names that are numbers, or end in one (`LABEL_0`), need no list of names.
    """
    said = [value] if rows == 1 and by_name(value, lists=True) else value
    if not isinstance(said, list) or not said or not all(by_name(row) for row in said):
        return value
    tables = [by_name(row) for row in said]
    known = list(names or sorted(tables[0], key=_number))
    for table in tables:
        if missing := [name for name in known if name not in table]:
            raise UserError(
                f"the answer scores {len(table)} classes by name, such as {next(iter(table))!r}, and {missing[0]!r} is "
                f"none of them. Ask the service for all {len(known)}, or attack the name that comes first: "
                "outputs='labels', and its place as parse (--answer)."
            )
    return [[table[name] for name in known] for table in tables]


def _number(name: str) -> int:
    """The number that a class name is or ends in."""
    digits = name[len(name.rstrip("0123456789")) :]
    if not digits:
        raise UserError(
            f"the answer scores classes by name, such as {name!r}, and their order was not said: classes=[names] "
            "(--classes NAME,NAME,...)."
        )
    return int(digits)


def as_numbers(value: Any, rows: int) -> Values:
    """Numbers [rows, ...] from a JSON value; numbers said as text are numbers. Raises UserError for anything else."""
    try:
        numbers: Values = np.asarray(value)
    except ValueError as error:
        raise UserError("the answer holds lists of unequal length; one row of numbers an input is needed.") from error
    if numbers.dtype.kind == "U":
        numbers = _read(numbers, value)
    if numbers.dtype.kind not in "iuf":
        raise UserError(f"the answer holds {_short(value)} where numbers are needed.")
    if rows == 1 and (numbers.ndim == 0 or (numbers.ndim == 1 and len(numbers) != 1)):
        numbers = numbers[None]  # for a single input its row alone
    if numbers.ndim == 0 or len(numbers) != rows:
        raise UserError(f"the answer holds numbers of shape {numbers.shape} for {rows} inputs.")
    if not np.isfinite(numbers).all() or np.abs(numbers).max(initial=0) > np.finfo(np.float32).max:
        raise UserError("the answer holds NaN, infinity, or a number beyond 3e38.")
    return numbers


def _read(texts: Values, value: Any) -> Values:
    try:
        return texts.astype(np.float64)
    except ValueError as error:
        raise UserError(
            f"the answer holds {_short(value)} where numbers are needed. If these are names of classes: "
            "outputs='labels' (--outputs labels)."
        ) from error


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
