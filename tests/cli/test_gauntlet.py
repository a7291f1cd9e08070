"""`struthio gauntlet`: the table, the folder, the list and the mistakes."""

import json

import pytest

from struthio.gauntlet import ROWS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("gauntlet")


def test_a_row_in_a_folder(run, folder):
    said = run("gauntlet", "none", "cifar-none", "-n", 4, "-o", folder)
    assert said.status == 0, said
    for word in ("none", "broken", "left out", "1 of 1 rows came out as they should", "gauntlet.md"):
        assert word in said.out
    assert "| `none` | no defence |" in (folder / "gauntlet.md").read_text()
    kept = json.loads((folder / "gauntlet.json").read_text())
    assert kept["asked"]["count"] == 4
    assert kept["rows"]["none"]["shares"]["audited"]["share"] == 0


def test_json_of_what_is_kept(run, folder):
    said = run("gauntlet", "none", "-n", 4, "-o", folder, "--json")
    assert said.status == 0
    row = said.json()["rows"]["none"]
    assert (row["verdict"], row["right_doubts"], row["of"], row["naive"]) == ("broken", True, 4, 0)


def test_a_row_that_is_not_as_it_should_be(run, folder):
    path = folder / "rows/none/outcome.json"
    held = json.loads(path.read_text())
    path.write_text(json.dumps({**held, "outcome": {**held["outcome"], "audited": 3}}))
    said = run("gauntlet", "none", "-n", 4, "-o", folder)
    assert said.status == 1
    assert "not broken" in said.out
    assert "not so: none." in said.out


def test_list(run):
    said = run("gauntlet", "--list", "--json")
    assert [row["name"] for row in said.json()] == list(ROWS)
    assert "four grey levels" in run("gauntlet", "--list", "bit-depth").out


def test_mistakes(run, folder):
    run("gauntlet", "jpg").refused("no row 'jpg'", "jpeg")
    run("gauntlet", "none", "-n", 0).refused("count", "at least 1")
    run("gauntlet", "none", "-n", 5, "-o", folder).refused("other options", "count 4")
    run("gauntlet", "none", "cifar-none", "-d", "nowhere").refused("nowhere")
    (folder / "rows/none/outcome.json").write_text("{")
    run("gauntlet", "none", "-n", 4, "-o", folder).refused("outcome.json is not what was written", "Remove it")
