"""Verdicts and doubts on outcomes written by hand, and the words for them."""

from dataclasses import replace

import pytest
from torch import nn

from struthio.gauntlet.board import Board
from struthio.gauntlet.outcome import Outcome, as_it_should, outcome_from, right_doubts, verdict
from struthio.gauntlet.row import Known, Row
from struthio.gauntlet.words import cells, figures, markdown, summary

WEAK = Row(
    "a | b", lambda shop: nn.Identity(), "nobody", Known(0.3, "somewhere", "someone"), frozenset({"no-gradient"})
)
SOUND = replace(WEAK, what="sound", doubts=frozenset(), sound=True)
FOUND = Outcome(100, 98, 90, 35, None, ("no-gradient", "saturated"), ("Something was done.",), 1.5)


@pytest.mark.parametrize(
    ("left", "audited", "word"),
    [
        (0.3, 35, "broken"),
        (0.3, 36, "not broken"),
        (None, 10, "broken"),
        (None, 11, "not broken"),
        (0.01, 10, "broken"),
    ],
)
def test_a_defence_is_broken_near_the_known_break_or_under_ten_percent(left, audited, word):
    row = replace(WEAK, known=Known(left, "", ""))
    assert verdict(row, replace(FOUND, audited=audited)) == word


@pytest.mark.parametrize(("unrepaired", "word"), [(None, "stands"), (37, "stands"), (33, "stands"), (38, "changed")])
def test_a_sound_row_stands_where_repairs_change_little(unrepaired, word):
    assert verdict(SOUND, replace(FOUND, unrepaired=unrepaired)) == word


@pytest.mark.parametrize(("audited", "word"), [(10, "broken"), (80, "at its bound"), (81, "not broken")])
def test_what_no_attack_reaches_is_not_for_the_audit_to_break(audited, word):
    row, found = replace(WEAK, known=Known(None, "", "")), replace(FOUND, audited=audited, beyond=75)
    assert verdict(row, found) == word
    assert as_it_should(row, found) == (word != "not broken")
    said = figures(Board({"count": 100}, {"row": row}, {"row": found}, {}))
    assert next(cells(said))[-1] == f"{word} (75.0 % out of reach)"


def test_the_right_doubts():
    assert right_doubts(WEAK, FOUND)
    assert not right_doubts(WEAK, replace(FOUND, doubts=("saturated",)))
    assert not right_doubts(SOUND, FOUND)
    assert right_doubts(SOUND, replace(FOUND, doubts=()))
    assert as_it_should(WEAK, FOUND)
    assert not as_it_should(WEAK, replace(FOUND, audited=50))
    assert not as_it_should(SOUND, replace(FOUND, unrepaired=35))


def test_figures_come_back():
    assert outcome_from(FOUND.figures()) == FOUND


def test_what_is_known():
    assert str(Known(0.885, "MNIST", "X, 2020")) == "88.5 %, MNIST (X, 2020)"
    assert str(Known(None, "falls", "")) == "falls"


@pytest.fixture
def said():
    rows = {"weak": WEAK, "blind": WEAK, "sound": SOUND, "far": replace(WEAK, data="cifar")}
    outcomes = {
        "weak": FOUND,
        "blind": replace(FOUND, doubts=("saturated",)),
        "sound": replace(FOUND, unrepaired=35),
    }
    return figures(Board({"count": 100}, rows, outcomes, {"far": "no data"}))


def test_cells(said):
    assert list(cells(said)) == [
        ("weak", "98.0 %", "90.0 %", "35.0 %", "no-gradient, saturated", "broken"),
        ("blind", "98.0 %", "90.0 %", "35.0 %", "saturated; missing: no-gradient", "broken"),
        ("sound", "98.0 %", "90.0 %", "35.0 %", "false: no-gradient, saturated", "stands"),
        ("far", "", "", "", "left out: no data", ""),
    ]


def test_a_page(said):
    head, rule, weak, *_, far, _, last = markdown(said).splitlines()
    assert head.count("|") == rule.count("|") == far.replace("\\|", "").count("|")
    assert weak.startswith("| `weak` | a \\| b | linf:0.3 | 98.0 % | 90.0 % | 35.0 % | 30 %, somewhere (someone) |")
    assert (
        last
        == summary(said)
        == ("1 of 3 rows came out as they should on 100 inputs each, 1 were left out; not so: blind, sound.")
    )
