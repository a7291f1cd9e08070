"""`struthio harden`: from a recipe file to weights that the audit takes, and every mistake in one message."""

import importlib.util
import json
import shlex
import subprocess
import sys
import textwrap
from dataclasses import replace

import numpy as np
import pytest

import struthio as st
from struthio.cli.harden_words import fresh
from struthio.train import earlier
from struthio.train.recipe_file import read, shipped
from struthio.train.registry import RECIPES

LINES = """
    # Three classes, told apart by their largest coordinate.
    [recipe]
    name = "pgd-at"
    threat = "linf:0.02"
    attack = { steps = 2 }

    [plan]
    epochs = 2
    batch = 20
    lr = 0.5

    [plan.evaluation]
    rows = 20
    attack = "fgsm"
"""
NET = """
    from torch import nn

    def net():
        return nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
"""


@pytest.fixture
def files(tmp_path):
    x = np.random.default_rng(0).random((120, 3, 2, 2)).astype(np.float32)
    np.savez(tmp_path / "rows.npz", x=x, y=x.mean((2, 3)).argmax(1))
    (tmp_path / "net.py").write_text(textwrap.dedent(NET))
    (tmp_path / "lines.toml").write_text(textwrap.dedent(LINES))
    return tmp_path


@pytest.fixture
def harden(run, files):
    def call(*more, to="made"):
        given = ["--model", f"{files}/net.py:net", "--data", files / "rows.npz", "-o", files / to]
        return run("harden", files / "lines.toml", *given, *more)

    return call


def test_a_recipe_becomes_weights_that_the_audit_takes(run, harden, files):
    said = harden()
    assert said.status == 0, said
    for words in ("epoch", "robust", "weights", "struthio audit", "DATA"):
        assert words in said.out
    told = harden("--json").json()  # finished before: nothing is trained again
    assert [line["epoch"] for line in told["history"]] == [1, 2]
    assert told["best"]["robust"] == max(line["robust"] for line in told["history"])
    audit = shlex.split(told["next"])
    assert audit[:2] + audit[3:4] == ["struthio", "audit", "DATA"]  # all rows of the file had a part in it
    audit[3] = files / "rows.npz"
    figures = run(*audit[1:], "--level", "quick", "--certify", "none", "-n", "12", "--json").json()
    assert figures["threats"]["linf:0.02"]["rows"] == 12
    model = st.load(f"{files}/net.py:net", weights=told["weights"])
    same = earlier(files / "made")
    assert all((a == b).all() for a, b in zip(model.parameters(), same.parameters(), strict=True))


def test_the_seed_is_where_it_begins(harden):
    first = harden("--json").json()
    again = harden("--json", to="again").json()
    other = harden("--json", "--seed", "1", to="other").json()
    losses = [[line["loss"] for line in told["history"]] for told in (first, again, other)]
    assert losses[0] == losses[1] != losses[2]


def test_another_job_is_refused(harden, files):
    harden()
    harden("--epochs", "3").refused("another job", "plan.epochs: 2 there, 3 here", "another folder")
    whole = (files / "made/checkpoint.safetensors").read_bytes()
    (files / "made/checkpoint.safetensors").write_bytes(whole[:-100])
    harden().refused("no whole checkpoint", "torn")
    (files / "made/checkpoint.safetensors").unlink()
    harden().refused("holds best.safetensors", "write over it")


def test_rows_that_had_no_part(tmp_path):
    digits = read("digits-plain")
    assert fresh(digits) == "data:digits"
    (tmp_path / "train").mkdir()
    assert fresh(replace(digits, data=f"{tmp_path}:train")) is None  # the whole folder holds these rows too


def test_every_mistake_of_a_file_at_once(run, tmp_path):
    path = tmp_path / "wrong.toml"
    path.write_text(
        textwrap.dedent("""
            modle = "zoo:digits-cnn"
            [recipe]
            name = "pgd-at"
            threat = "linf:8"
            rmap = 0.5
            attack = { name = "pgd", stepz = 3, loss = "hinge" }
            [plan]
            lr = "fast"
            [plan.evaluation]
            attack = "pdg"
        """)
    )
    run("harden", path).refused(
        "7 mistakes", "modle: there is no such key. Did you mean: model?", "Is 8/255 meant?",
        "recipe.rmap", "Did you mean: ramp?", "recipe.attack.stepz", "steps?", "recipe.attack.loss", "ce, margin",
        "plan.lr", 'given: "fast"', "plan.evaluation.attack: no attack is called 'pdg'",
    )  # fmt: skip
    path.write_text('[recipe]\nname = "awp"\nrecipe = { name = "trades", beta = -3 }\n[plan]\nlr = -1\n')
    run("harden", path).refused("recipe.recipe: beta is -3", "plan: lr is -1")
    path.write_text(
        '[recipe]\nname = "pgd-at"\nthreat = "linf:0.1"\nrmap = 1\n[plan]\nepochs = 0\nbatch = 0.5\nlr = -1\n'
    )
    run("harden", path).refused("4 mistakes", "recipe.rmap", "plan.batch", "plan: epochs is 0", "plan: lr is -1")
    path.write_text('[recipe]\nname = "distillation"\nteacher = 3\n[plan]\nnesterov = true\noptimizer = "adam"\n')
    run("harden", path).refused("2 mistakes", "recipe.teacher: a model is written as text", "plan: nesterov looks")
    path.write_text("[plan]\n")
    run("harden", path).refused("recipe: it is missing")
    path.write_text('[recipe]\nname = "trade"\n')
    run("harden", path).refused("no recipe is called 'trade'", "trades")
    path.write_text("recipe = 3 3")
    run("harden", path).refused("is no TOML")
    path.write_text('recipe = "plain"')
    run("harden", path).refused("what model is trained", "--model")
    run("harden", "digits-pdg-at").refused("no recipe file", "digits-pgd-at")


def test_what_cannot_be_meant(run, harden):
    harden("--devices", "many").refused("--devices", "ray:N")
    harden("--devices", "2", "--nodes", "2").refused("--meet HOST:")


@pytest.mark.slow
def test_two_processes(files):
    """In a process of its own: a launcher takes the place of this one's signals."""
    options = ["--model", f"{files}/net.py:net", "--data", str(files / "rows.npz"), "-o", str(files / "two"), "--json"]
    command = [sys.executable, "-m", "struthio.cli", "harden", str(files / "lines.toml"), *options, "--devices", "2"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert [line["epoch"] for line in json.loads(done.stdout)["history"]] == [1, 2]


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="ray is not installed")
def test_it_runs_on_ray(harden, files):
    assert harden("--devices", "ray:2").status == 0
    assert (files / "made/model.safetensors").exists()


@pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")
def test_logs(harden, files):
    assert harden("--logs").status == 0
    assert list((files / "made/logs").glob("events*"))


def test_recipes_are_listed_and_shown(run):
    names = [entry["name"] for entry in run("list", "recipes", "--json").json()]
    assert names == [*RECIPES, *shipped()]
    assert "arXiv 1706.06083" in run("show", "pgd-at").out
    assert 'name = "trades"' in run("show", "digits-trades").out
    for name in RECIPES:
        for option in json.loads(run("show", name, "--json").out)["options"]:
            assert option["meaning"], (name, option["name"])
