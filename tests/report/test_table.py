import io

import pytest
from rich.console import Console

from struthio.report.table import entries, facts, listing, pictures


def _text(table, width=80, colour=False):
    file = io.StringIO()
    Console(file=file, width=width, force_terminal=colour).print(table)
    return file.getvalue()


@pytest.mark.parametrize("width", [80, 120])
def test_pictures_fit(width):
    row = [
        "a-long-name-of-a-picture-file.png",
        "West Highland white…\n>99.99 %",
        "black-footed ferret\n>99.99 %",
        "16/255\n12.3 s",
    ]
    text = _text(pictures([[*row, "yes\n>99.99 %", "yes\n50.0 %", "no\n<0.01 %"]]), width)
    assert max(map(len, text.splitlines())) <= width
    for whole in ("JPEG 75", "16/255", "12.3 s", "<0.01 %", "time"):
        assert whole in text
    assert text.count("99.99 %") == 3


def test_yes_is_green_and_no_is_red():
    text = _text(pictures([["p", "a", "b", "1", "yes\n1 %", "no\n1 %", "no\n1 %"]]), colour=True)
    assert "\x1b[32myes" in text
    assert "\x1b[31mno" in text


def test_square_brackets_are_words():
    assert "data:digits[:train]" in _text(listing(["name", "what"], [["data:digits[:train]", "[b]"]], wide="what"))
    assert "[0, 1]" in _text(facts([("threat", "Linf [0, 1]", "")]))


def test_entries_leave_out_what_is_not_known():
    text = _text(entries([("pgd", "many steps", ["gradients", "", "linf"]), ("new", "unknown", ["", ""])]))
    assert [line.split() for line in text.splitlines()] == [
        ["pgd", "many", "steps"],
        ["gradients", "·", "linf"],
        [],
        ["new", "unknown"],
    ]


def test_plain_when_piped():
    assert "\x1b" not in _text(facts([("clean accuracy", "98.7 %", "296 of 300 rows")]))
