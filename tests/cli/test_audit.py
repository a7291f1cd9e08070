"""`struthio audit`: its tables, its JSON, its gate, its folder, and its mistakes in one line."""

import json

import numpy as np
import pytest

ROWS = ["audit", "zoo:digits-cnn", "data:digits", "-t", "linf:0.05", "-n", "6"]
ARGS = [*ROWS, "--level", "quick", "--certify", "none"]


def test_it_says_the_interval_and_that_nothing_speaks_against_it(run):
    said = run(*ARGS)
    assert said.status == 0
    for words in ("robust accuracy", "at most", "at least 0 %", "of 6, 95 % interval", "no doubts", "forwards"):
        assert words in " ".join(said.out.split())


def test_json_is_the_figures(run):
    figures = json.loads(run(*ARGS, "-t", "l2:0.5", "--surrogate", "zoo:digits-robust", "--json").out)
    assert list(figures["job"]["surrogates"]) == ["zoo:digits-robust"]
    assert figures["threats"]["l2:0.5"]["wins"]["transfer from zoo:digits-robust"] >= 0
    verdict = figures["threats"]["linf:0.05"]
    assert verdict["rows"] == 6
    assert verdict["robust_accuracy_at_most"]["of"] == 6
    assert figures["worst"]["robust_accuracy_at_most"]["count"] <= verdict["robust_accuracy_at_most"]["count"]


def test_the_gate_is_the_lower_limit(run):
    assert run(*ARGS, "--at-least", "0.1").status == 0
    said = run(*ARGS, "--at-least", "0.99")
    assert said.status == 1
    assert "--at-least" in said.err


def test_the_folder_holds_the_report_and_goes_on(run, tmp_path):
    first = run(*ARGS, "-o", str(tmp_path / "made"), "--json")
    again = run(*ARGS, "-o", str(tmp_path / "made"), "--json")
    assert json.loads(first.out) == json.loads(again.out)
    assert "<script" not in (tmp_path / "made/report.html").read_text()
    assert json.loads((tmp_path / "made/audit.json").read_text())["job"]["rows"] == 6
    other = run(*ARGS, "-o", str(tmp_path / "made"), "--seed", "5")
    assert other.status == 2
    assert "seed" in other.err
    assert "Traceback" not in other.err


def test_a_second_level_beside_it(run):
    said = run(*ROWS[:-1], "4", *ARGS[7:], "--compare", "quick")
    assert "compared" in said.out
    assert said.out.count("quick") == 2


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("audit", "zoo:digits-cnn", "data:digits"), "--threat"),
        ((*ROWS, "--level", "hard"), "standard-aa"),
        ((*ARGS, "--at-least", "40"), "0.4"),
        ((*ARGS, "--stand-in", "features"), "PART=identity"),
        ((*ARGS, "--stand-in", "nothing=identity"), "nothing"),
        (("audit", "zoo:digits-cnn", "data:digit", "-t", "linf:0.1"), "data:digits"),
        (("audit", "zoo:digit", "data:digits", "-t", "linf:0.1"), "digits-cnn"),
    ],
)
def test_mistakes_are_one_line(run, arguments, word):
    said = run(*arguments)
    assert said.status == 2
    assert word in said.err
    assert "Traceback" not in said.err


def test_labels_that_the_model_does_not_have(run, tmp_path):
    path = tmp_path / "odd.npz"
    np.savez(path, x=np.zeros((4, 28, 28), np.uint8), y=np.array([0, 1, 2, 12]))
    said = run("audit", "zoo:digits-cnn", str(path), "-t", "linf:0.1")
    assert said.status == 2
    assert "labels up to 12" in said.err
