import math

import pytest

from struthio.checks import UserError
from struthio.cli.classes import class_name, find_class
from struthio.cli.options import convert, make_attack
from struthio.losses import DLR

NAMES = (
    "tabby, tabby cat",
    "crane",
    "crane",
    "ostrich, Struthio camelus",
    "tool, crane hook",
    "lion, king",
    "cub, king",
)


@pytest.mark.parametrize(
    ("text", "number"),
    [("tabby", 0), ("Tabby Cat", 0), ("struthio camelus", 3), (" OSTRICH ", 3), ("6", 6), ("tabby, tabby cat", 0)],
)
def test_classes_are_found(text, number):
    assert find_class(text, NAMES) == number


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("crane", "2 classes. Give the number of one: 1 (crane), 2 (crane)"),
        ("king", "5 (lion, king), 6 (cub, king)"),
        ("ostritch", "Did you mean: ostrich"),
        ("7", "knows classes 0 to 6"),
        ("-1", "no class is called"),
    ],
)
def test_classes_that_are_not_found(text, words):
    with pytest.raises(UserError) as caught:
        find_class(text, NAMES)
    assert words in str(caught.value)


def test_a_model_without_names():
    assert find_class("12", None) == 12
    assert class_name(12, None) == "class 12"
    with pytest.raises(UserError, match="Give the class number"):
        find_class("cat", None)


@pytest.mark.parametrize(
    ("text", "kinds", "value"),
    [
        ("5", "int", 5),
        ("1/4", "float", 0.25),
        ("1e-3", "float | None", 1e-3),
        ("none", "float | None", None),
        ("No", "bool", False),
        ("best", "str", "best"),
        ("DLR", "Loss", DLR()),
    ],
)
def test_values_by_their_kinds(text, kinds, value):
    assert convert(text, kinds, "it") == value


@pytest.mark.parametrize(
    ("text", "kinds"), [("1.5", "int"), ("x", "float"), ("1/0", "float"), ("5", "bool"), ("x", "Loss")]
)
def test_values_of_another_kind(text, kinds):
    with pytest.raises(UserError, match=r"it (takes|is a loss)"):
        convert(text, kinds, "it")


def test_options_said_go_before_defaults():
    attack = make_attack("pgd", ["steps=7", "random-start=no"], steps=3, keep="best")
    assert (attack.steps, attack.random_start, attack.keep) == (7, False, "best")
    assert math.isclose(make_attack("pgd", ["step=1/8"]).step, 0.125)
