import pytest

from struthio.attacks.registry import ATTACKS


@pytest.mark.parametrize("kind", ["attacks", "threats", "models", "data", "detectors", "recipes"])
def test_every_list_as_a_table_and_as_json(run, kind):
    table, listed = run("list", kind), run("list", kind, "--json")
    assert table.status == listed.status == 0
    assert table.err == listed.err == ""
    assert "\x1b" not in table.out
    assert max(map(len, table.out.splitlines())) <= 80
    for entry in listed.json():
        assert entry["what"]
        assert entry["name"].split()[0] in table.out


def test_every_attack_is_listed(run):
    entries = {entry["name"]: entry for entry in run("list", "attacks", "--json").json()}
    assert set(entries) == set(ATTACKS)
    assert entries["pgd"]["paper"].endswith("arXiv 1706.06083")
    assert entries["apgd"]["norms"] == ["linf", "l2", "l1", "patch", "spatial"]


@pytest.mark.parametrize("name", ATTACKS)
def test_every_option_of_every_attack_is_explained(run, name):
    shown = run("show", name, "--json").json()
    assert shown["summary"]
    assert shown["paper"]
    for option in shown["options"]:
        assert option["meaning"], option["name"]


def test_show(run):
    said = run("show", "PGD")
    assert said.status == 0
    for words in ("PGD: Projected gradient ascent", "arXiv 1706.06083", "2.5 / steps", "--attack pgd --threat linf"):
        assert words in said.out
    assert run("show", "bim", "--json").json()["options"][0] == {
        "name": "steps",
        "type": "int | None",
        "default": "None",
        "meaning": "how many; None takes the paper's min(e + 4, 1.25 e) for a radius of e levels of 255.",
    }
    run("show", "pdg").refused("nothing is called 'pdg'", "pgd")
    run("show", "mahalanobi").refused("Did you mean: mahalanobis")
    patch = run("show", "patch")
    assert "the smallest rectangle" in " ".join(patch.out.split())
    assert "struthio.Patch(6, 6)" in patch.out


@pytest.mark.parametrize("name", ["jpeg", "hgd", "lid", "pgd-at"])
def test_what_is_shown_can_be_imported(run, name):
    lines = run("show", name, "--json").json()["examples"]
    imports = [line for line in lines if line.startswith("from ")]
    assert imports
    exec("\n".join(imports))


def test_without_a_kind_the_kinds_are_listed(run):
    kinds = [entry["name"] for entry in run("list", "--json").json()]
    assert kinds == ["attacks", "threats", "models", "data", "defenses", "detectors", "recipes"]
    assert "defenses" in run("list").out


def test_lists_are_named(run):
    run("list", "attack").refused("attacks")
