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
    by_label: dict[int, dict[int, int]] = {}
    for (label, answer), count in sorted(answers.items()):
        by_label.setdefault(label, {})[answer] = count
    if any(sum(counts.values()) < ROWS for counts in by_label.values()):
        return {}
    rows = sum(answers.values())
    right = sum(counts.get(label, 0) for label, counts in by_label.items())
    usual = {
        label: max(counts, key=lambda answer: (counts[answer], answer == label)) for label, counts in by_label.items()
    }
    fits = sum(counts[usual[label]] for label, counts in by_label.items())
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
