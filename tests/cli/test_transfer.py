"""`struthio transfer` and `struthio attack --via`: inputs made against one model, judged by others."""

import json

import numpy as np
import pytest
from PIL import Image
from torch import nn

from struthio.cli import transfer_job
from tests.service import Running, Service


class Colours(nn.Module):
    """The strongest colour wins, as in conftest; the network behind the service."""

    def forward(self, x):
        return 40 * x.mean((2, 3))


@pytest.fixture
def transfer(run, models, rows):
    def call(*arguments, names=("colours", "weighed", "two"), data=rows, threat="linf:22/255", attack="fgsm"):
        specs = [f"{models}:{name}" for name in names]
        return run("transfer", *specs, "--data", data, "-t", threat, "-a", attack, *arguments)

    return call


@pytest.fixture
def attack(run, models, rows):
    def call(*arguments, model="colours", attack="mi-fgsm"):
        named = ["--model", f"{models}:{model}"] if model else []
        return run("attack", *named, "--data", rows, "-t", "linf:22/255", "-a", attack, *arguments)

    return call


def test_models_of_different_inputs(transfer, models):
    models.write_text(
        models.read_text().replace("class Two(Colours):", "class Two(Colours):\n    input_size = (3, 8, 8)")
    )
    assert "colours takes 3 x 16 x 16; weighed takes 3 x 16 x 16; two takes 3 x 8 x 8" in transfer().err
    models.write_text(models.read_text().replace("(3, 8, 8)", "(1, 8, 8)"))
    transfer().refused("inputs of different kinds", "two takes 1 x 8 x 8")


def test_counts_have_their_closed_form(transfer):
    """Rows 0 to 3 are behind by 10 to 40 levels and fall to 22 on both sides; the last two are wrong already."""
    found = transfer("--json").json()
    assert list(found["models"]) == ["colours", "weighed", "two"]
    assert [(cell["count"], cell["of"]) for cell in found["cells"]] == [(4, 8)] * 9
    assert [(part["count"], part["of"]) for part in found["noise"]] == [(0, 8)] * 3
    assert found["clean_accuracy"]["two"] == 0.8
    assert (found["transfer"], found["asymmetry"]) == (0.5, 0.0)
    assert found["cells"][0]["low"] == pytest.approx(0.157, abs=1e-3)


def test_the_table_fits_and_no_answer_depends_on_the_batch_size(transfer):
    said = transfer()
    assert said.status == 0
    assert max(map(len, said.out.splitlines())) <= 80
    for words in ("made against", "weighed", "random change", "50.0", "FGSM()"):
        assert words in said.out
    assert transfer("--batch-size", 3).out == said.out


def test_a_picture_and_figures_are_kept(transfer, tmp_path):
    said = transfer("-o", tmp_path / "kept", "-n", 5, names=("colours", "weighed"))
    assert "transfer.png" in said.out
    assert min(Image.open(tmp_path / "kept" / "transfer.png").size) > 400
    found = json.loads((tmp_path / "kept" / "transfer.json").read_text())
    assert (found["rows"], found["attack"], found["threat"]) == (5, "FGSM()", "Linf(eps=22/255)")


def test_names_sources_and_levels(run, models, rows):
    said = run(
        "transfer", f"one={models}:colours", f"other={models}:weighed", "-d", rows, "-t", "linf:0.1",
        "--sources", "other", "--over", "target", "--levels", "-O", "steps=3", "--seed", 4, "--json",
    )  # fmt: skip
    found = said.json()
    assert [(cell["source"], cell["target"]) for cell in found["cells"]] == [("other", "one"), ("other", "other")]
    assert found["attack"] == "MIFGSM(steps=3)"
    assert found["threat"] == "Levels(threat=Linf(eps=0.1))"
    assert found["asymmetry"] is None


@pytest.mark.parametrize(
    ("specs", "names"),
    [
        (["zoo:a", "dir/b.onnx"], ["a", "b"]),
        (["m.py:net", "n.py:net"], ["m.py:net", "n.py:net"]),
        (["x=zoo:a", "y=zoo:a"], ["x", "y"]),
        (["C:/nets=/a.onnx", "zoo:b"], ["a", "b"]),
    ],
)
def test_names_of_models(specs, names):
    assert list(transfer_job.named(specs)) == names


def test_ctrl_c_tells_what_is_done(transfer, monkeypatch):
    real, calls = transfer_job._matrix, []

    def stopping(*given):
        calls.append(given)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*given)

    monkeypatch.setattr(transfer_job, "_matrix", stopping)
    said = transfer("--batch-size", 2)
    assert said.status == 130
    assert "4 of 10 rows" in said.err
    assert "(4 in all)" in said.out


def test_mistakes_of_transfer(transfer, run, models, rows, tmp_path):
    transfer(names=("colours",)).refused("name two at least")
    transfer(names=("colours", "colours")).refused("one=SPEC")
    transfer("--sources", "weihged").refused("Did you mean: weighed?")
    transfer("--over", "none").refused("--over is 'none'")
    transfer(attack="fgms").refused("Did you mean")
    transfer("-n", 0).refused("-n")
    run("transfer", f"{models}:colours", f"{models}:two").refused("--data")
    run("transfer", f"{models}:colours", f"{models}:two", "-d", rows).refused("--threat")
    np.savez(tmp_path / "bare.npz", x=np.load(rows)["x"])
    transfer(data=tmp_path / "bare.npz").refused("has no labels")


def test_via_another_model_asks_the_target_once(attack, models):
    """The same rows fall as under a direct attack: both models draw the same boundary."""
    said = attack("--via", f"{models}:weighed", "--json")
    found = said.json()
    assert (found["success_rate"]["count"], found["success_rate"]["of"]) == (4, 8)
    assert found["attack"].startswith("Via(attack=MIFGSM(), source=")
    assert found["via"] == f"{models}:weighed"
    assert found["forwards_per_row"] == (8 * 2 + 2) / 10
    assert found["backwards_per_row"] == 0
    said = attack("--via", f"{models}:weighed", "-n", 2).out
    assert "not in the cost" in " ".join(said.split())


@pytest.mark.parametrize("average", ["logits", "probabilities", "losses"])
def test_via_several_models(attack, models, average):
    specs = f"{models}:weighed,{models}:sure"
    said = attack("--via", specs, "--average", average, "--json")
    assert said.json()["success_rate"]["count"] == 4
    assert "LogitEnsemble" in said.json()["attack"]
    assert ("loss=Logit()" in said.json()["attack"]) == (average == "losses")


def test_via_beside_a_service_that_shows_only_labels(attack, models):
    service = Service(Colours())
    with Running(service) as running:
        said = attack(
            "--endpoint", f"{running.url}/labels", "--outputs", "labels", "--classes", 3, "--budget", 60, "-n", 10,
            "--via", f"{models}:weighed", "--json", model=None,
        )  # fmt: skip
    found = said.json()
    assert found["success_rate"]["count"] == 4
    assert found["inputs_sent"] == service.inputs <= 20


def test_mistakes_of_via(attack, models, run):
    attack("--via", f"{models}:nobody").refused("nobody")
    attack("--via", f"{models}:weighed", "--average", "votes").refused("--average is 'votes'")
    attack("--via", f"{models}:weighed", attack="ead").refused("EAD is defined in")
    run("attack", "data:chelsea.png", "--via", f"{models}:weighed").refused("--via is for data sets")
