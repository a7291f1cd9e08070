"""Tells where data and model number the same classes differently, from how the rows of each label are answered."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

ROWS = 5  # of a label, from which its usual answer counts
GAIN = 0.25  # of all rows, that the other numbering makes right
FITS = 0.6  # of all rows, that it must explain


def renumbered(answers: Mapping[tuple[int, int], int]) -> dict[int, int]:
    """From label to the class it is answered by most, where this other numbering fits and that of the labels does not.

    Args:
        answers: how many rows of a label were answered a class, by (label, class).

    Returns:
        The labels that are answered by another number; {} where labels and classes agree, or where no other numbering
        explains the answers: two labels answered alike, one label alone, few rows, many kinds of answers.
    """
    rows = sum(answers.values())
    right = sum(count for (label, answer), count in answers.items() if label == answer)
    usual: dict[int, int] = {}
    fits = 0
    for label in sorted({label for label, _ in answers}):
        counts = {answer: count for (of, answer), count in answers.items() if of == label}
        usual[label] = max(counts, key=lambda answer: (counts[answer], answer == label))
        if sum(counts.values()) < ROWS:
            return {}
        fits += counts[usual[label]]
    one_to_one = len(set(usual.values())) == len(usual) > 1
    if not one_to_one or fits < FITS * rows or fits - right < GAIN * rows:
        return {}
    return {label: answer for label, answer in usual.items() if label != answer}


def in_words(other: Mapping[int, int], names: Sequence[str] | None = None, most: int = 3) -> str:
    """The first few of these labels, named where the data names them, and how the model answers them."""
    said = [f"{label} ({names[label]!r})" if names and label < len(names) else str(label) for label in other]
    pairs = [f"{label} is answered {answer}" for label, answer in zip(said, other.values(), strict=True)]
    rest = f", and so on for {len(pairs) - most} more" if len(pairs) > most else ""
    return f"label {', '.join(pairs[:most])}{rest}"
