"""Another numbering of the classes is told from a model that is merely wrong."""

from collections import Counter

import pytest

from struthio.data.numbering import in_words, renumbered


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ({(0, 0): 40, (0, 1): 10, (1, 1): 50}, {}),
        ({(0, 1): 50, (1, 0): 45, (1, 1): 5}, {0: 1, 1: 0}),
        ({(0, 2): 50, (1, 1): 50, (2, 0): 40, (2, 1): 10}, {0: 2, 2: 0}),
        ({(0, 2): 4, (1, 0): 50, (2, 1): 50}, {}),  # four rows of a label say nothing
        ({(0, 1): 50, (1, 1): 50}, {}),  # one answer for all is a mistake of another kind
        ({(1, 0): 50}, {}),
        ({(0, 0): 24, (0, 1): 26, (1, 0): 26, (1, 1): 24}, {}),  # as a coin falls
    ],
)
def test_what_is_another_numbering(answers, expected):
    assert renumbered(Counter(answers)) == expected


def test_how_it_is_said():
    assert in_words({0: 2, 2: 0}, ["blue", "green", "red"]) == "label 0 ('blue') is answered 2, 2 ('red') is answered 0"
    assert in_words({0: 1, 1: 2, 2: 3, 3: 0}).endswith("2 is answered 3, and so on for 1 more")
