"""`struthio attack --endpoint`: a real service attacked by questions alone, which are counted as it counts them."""

import json
import os
import signal

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file
from torch import nn

from struthio.zoo import load
from tests.service import Running, Service


class Colours(nn.Module):
    """The strongest colour wins, as in conftest; the network behind the service."""

    def forward(self, x):
        return 40 * x.mean((2, 3))


@pytest.fixture(scope="module")
def running():
    service = Service(Colours())
    with Running(service) as running:
        yield service, running.url


@pytest.fixture
def service(running, monkeypatch):
    monkeypatch.setattr("struthio.models.endpoint.FIRST_WAIT", 0.01)
    made, _ = running
    made.plan, made.inputs, made.requests = [], 0, 0
    return made


@pytest.fixture
def attack(run, running, service, rows):
    def call(*arguments, form="scores", data=rows, attack="square", threat="linf:22/255"):
        return run(
            "attack", "--endpoint", f"{running[1]}/{form}", "--data", data, "-t", threat, "-a", attack, *arguments
        )

    return call


def test_scores_alone_find_what_is_there(attack, service):
    """Rows 0 to 3 are behind by 10 to 40 levels and fall to 22 on both sides; the last two are wrong already."""
    found = attack("--budget", 2000, "-n", 10, "-O", "queries=40", "--json").json()
    assert found["complete"]
    assert found["robust_accuracy"]["count"] == 4
    assert (found["success_rate"]["count"], found["success_rate"]["of"]) == (4, 8)
    assert found["inputs_sent"] == service.inputs <= found["budget"] == 2000
    assert found["inputs_unsure"] == 0
    assert found["prepared"] == []


def test_the_table_says_what_was_sent(attack, service):
    said = attack("--budget", 2000, "-n", 2)
    assert said.status == 0
    assert f"{service.inputs:,} of 2,000 inputs sent" in said.out
    assert "127.0.0.1" in said.out
    assert max(map(len, said.out.splitlines())) <= 80


def test_labels_alone(attack, service):
    given = ("--outputs", "labels", "--classes", 3, "--budget", 100, "-n", 2, "--json")
    found = attack(*given, form="labels", attack="rays").json()
    assert found["inputs_sent"] == service.inputs <= 100
    assert found["success_rate"]["count"] == 2


def test_a_small_budget_is_shared_by_the_rows(attack, service):
    found = attack("--budget", 60, "-n", 10, "--batch-size", 3, "--json")
    assert found.status == 0
    assert found.json()["rows"] == 10
    assert service.inputs <= 60
    found = attack("--row-budget", 5, "-n", 10, "--json").json()
    assert found["forwards_per_row"] <= 5


def test_a_budget_that_does_not_reach_is_a_mistake(attack, service):
    attack("--budget", 12, "-n", 10).refused("2 of the budget's questions are left for 10 rows")
    assert service.inputs <= 12
    attack("--budget", 4, "-n", 10).refused("the budget of 4 for", "10 inputs, of which 4 may be sent")


def test_rows_by_the_budget(attack, service):
    assert attack("--budget", 600, "--json").json()["rows"] == 3


def test_probabilities_are_noted(attack, service):
    said = attack("-n", 4, "--budget", 400, "--json", form="probabilities")
    assert "look like probabilities" in said.err
    assert said.json()["success_rate"]["count"] == 4


def test_pictures_over_the_wire_lie_on_the_levels(attack, service):
    form = ("--field", "instances", "--encoding", "bytes", "--layout", "channels-last")
    found = attack(*form, "-n", 4, "--budget", 800, "--json", form="tensorflow").json()
    assert found["threat"].startswith("Levels")
    assert found["inputs_sent"] == service.inputs
    assert found["success_rate"]["count"] == 4


def test_headers_from_the_environment(attack, service, monkeypatch):
    monkeypatch.setenv("TOKEN", "abc")
    attack("-n", 1, "--budget", 50, "--header", "authorization: Bearer $TOKEN")
    assert service.heard["authorization"] == "Bearer abc"
    attack("--header", "authorization").refused("NAME:VALUE")


def test_what_fails_now_and_then_is_told(attack, service):
    service.plan = ["answer", "fail", "answer", "fail"]
    found = attack("-n", 4, "--budget", 400, "--json").json()
    assert found["inputs_sent"] == service.inputs
    assert 0 < found["inputs_unsure"] <= 8


def test_an_endpoint_that_is_gone_leaves_what_was_done(attack, service, tmp_path):
    service.plan = ["answer"] * 30 + ["fail"] * 10_000
    said = attack("-n", 8, "--batch-size", 2, "--retries", 1, "-o", tmp_path / "kept", "--json", "-O", "queries=40")
    assert said.status == 2
    assert "gave no answer" in said.err
    assert "of 8 rows are done, and kept in" in said.err
    found = said.json()
    assert found["complete"] is False
    assert found["inputs_sent"] == service.inputs
    table = pq.read_table(tmp_path / "kept" / "rows.parquet").to_pydict()
    assert 0 < len(table["id"]) < 8
    shard = load_file(tmp_path / "kept" / "adversarials-00000.safetensors")
    wins = [
        Colours()(row[None]).argmax().item() != label for row, label in zip(shard["x_adv"], table["label"], strict=True)
    ]
    assert wins == table["success"]


def test_the_same_command_goes_on_where_it_ended(attack, service, tmp_path):
    """The service falls ill in the third batch; what then comes out is what comes out of one run in health."""
    folder, given = tmp_path / "kept", ("-n", 6, "--batch-size", 2, "--retries", 1, "--json", "-O", "queries=12")
    service.plan = ["answer"] * 15 + ["fail"] * 2
    first = attack(*given, "-o", folder)
    assert first.status == 2
    sent = service.inputs
    attack("-n", 1, *given[2:], "-o", folder).refused("4 finished rows of this attack, and 1 are asked for")
    attack(*given, "-o", folder, "--seed", 1).refused("another attack (seed: given 1, there 0)")
    said = attack(*given, "-o", folder, "--budget", 5000)
    assert first.json()["rows"] == 6  # the batch in which it fell ill is kept, and attacked once more
    assert f"holds 4 finished rows of this attack, and {sent:,} of 5,000 inputs sent" in said.err
    assert "it goes on with the other 2" in said.err
    assert said.json()["inputs_sent"] == service.inputs > sent
    healthy = attack(*given, "-o", tmp_path / "whole").json()
    assert said.json()["success_rate"] == healthy["success_rate"]
    kept, whole = (pq.read_table(tmp_path / name / "rows.parquet") for name in ("kept", "whole"))
    assert kept.equals(whole)
    shards = [load_file(path) for path in sorted(folder.glob("*.safetensors"))]
    assert [row for shard in shards for row in shard["id"].tolist()] == list(range(6))


def test_no_answer_is_lost_to_a_kill(ended, attack, running, service, rows, tmp_path, monkeypatch):
    """Killed and interrupted in the middle of a batch; all in all what one run asks, and its rows bit for bit."""
    given = ("-n", 4, "--budget", 100, "--batch-size", 2, "-O", "queries=19")
    command = ("attack", "--endpoint", f"{running[1]}/scores", "--data", rows, "-t", "linf:22/255", "-a", "square")
    assert attack(*given, "-o", tmp_path / "whole").status == 0
    sent, service.inputs, see, pids = service.inputs, 0, service.see, []
    at = iter((sent // 3, 2 * sent // 3))
    moment = [next(at)]

    def seen(x):
        if service.inputs + len(x) > moment[0]:
            moment[0] = next(at, 10_000)
            os.kill(pids[-1], signal.SIGINT if pids[1:] else signal.SIGKILL)
        return see(x)

    monkeypatch.setattr(service, "see", seen)
    for status in (-9, 130):
        assert ended(*command, *given, "-o", tmp_path / "kept", started=pids.append) == status
    assert ended(*command, *given, "-o", tmp_path / "kept") == 0
    kept = json.loads((tmp_path / "kept" / "summary.json").read_text())
    assert kept["inputs_sent"] == service.inputs == sent + kept["inputs_unsure"] <= 100
    assert kept["inputs_unsure"] <= 2 * 4  # of the questions under way
    tables = [pq.read_table(tmp_path / name / "rows.parquet") for name in ("kept", "whole")]
    assert tables[0].equals(tables[1])


def test_names_of_classes(attack, service):
    names = ("--outputs", "labels", "--classes", "digit 0,digit 1,digit 2", "--answer", "results.*.class")
    found = attack(*names, "--goal", "to:digit 1", "--budget", 100, "-n", 2, "--json", form="names", attack="rays")
    assert found.status == 0
    assert "to:digit 1" in found.json()["goal"]
    attack(*names[:3], "digit,digit", form="names", attack="rays").refused("different NAME,NAME")


def test_one_that_was_never_there(run, rows):
    said = run(
        "attack", "--endpoint", "http://127.0.0.1:9/x", "--data", rows, "-t", "linf:0.1", "-a", "square", "--retries", 0
    )
    said.refused("cannot be reached")


@pytest.mark.parametrize(
    ("arguments", "attack_name", "words"),
    [
        ([], "pgd", ["pgd needs gradients", "--attack square"]),
        (["--outputs", "labels"], "square", ["square needs scores", "--attack hop-skip-jump"]),
        (["--outputs", "logits"], "square", ["outputs is 'logits'"]),
        (["--model", "zoo:digits-cnn"], "square", ["give one of them"]),
        (["--rate", "0"], "square", ["rate is 0"]),
        (["--encoding", "jpeg"], "square", ["encoding is 'jpeg'"]),
        (["--row-budget", "0"], "square", ["--row-budget is 0"]),
        (["--goal", "to:purple"], "square", ["no class"]),
    ],
)
def test_mistakes_cost_nothing(attack, service, arguments, attack_name, words):
    attack(*arguments, attack=attack_name).refused(*words)
    assert service.requests == 0


def test_a_budget_is_for_endpoints(run, rows):
    said = run("attack", "--model", "zoo:digits-cnn", "--data", "data:digits", "-t", "linf:0.1", "--budget", 100)
    said.refused("--row-budget")


def test_a_row_budget_is_for_all(run):
    arguments = ("--data", "data:digits", "-t", "linf:0.1", "-n", 20, "--row-budget", 6, "--json")
    found = run("attack", "--model", "zoo:digits-cnn", *arguments).json()
    assert found["forwards_per_row"] <= 6
    assert found["success_rate"]["of"] > 0


def test_digits_over_the_wire(run, tmp_path):
    """The network of the zoo behind a service, attacked with labels alone."""
    service = Service(load("digits-cnn"))
    with Running(service) as running:
        said = run(
            *("attack", "--endpoint", f"{running.url}/labels", "--outputs", "labels", "--data", "data:digits"),
            *("-t", "l2:6", "-a", "hop-skip-jump", "--budget", 200, "-n", 1, "--json"),
        )
    assert said.status == 0
    assert said.json()["inputs_sent"] == service.inputs <= 200
    assert said.json()["complete"]
    assert np.isfinite(said.json()["median_size"] or 0)
