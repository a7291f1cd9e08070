"""`--defense`: defences by name around a model, listed and shown, with options that are checked."""

import pytest
import torch
from torch import nn

from struthio.checks import UserError
from struthio.cli.options import put_around
from struthio.defenses.registry import DEFENSES, LEARNT, by_name, defense_class
from struthio.testing import small_net


def test_options_by_name_and_in_order():
    net = small_net()
    net.class_names = ["a"]
    model = put_around(net, ["jpeg:50", "resize-pad:smallest=0.9,size=12,mode=bilinear"])
    outer, inner = model[0], model[1]
    assert (outer.smallest, outer.size, outer.mode) == (0.9, 12, "bilinear")
    assert (inner[0].quality, inner[0].subsampled) == (50, True)
    assert model.class_names == ["a"]
    assert put_around(net, ["jpeg:30,subsampled=no"])[0].subsampled is False
    assert put_around(net, []) is net


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("jpge", "jpeg"),
        ("jpeg:qualty=50", "quality"),
        ("jpeg:high", "jpeg's quality takes int"),
        ("jpeg:0", "1 to 95"),
        ("hgd", r"HGD\(\)\.fit\(net, x, x_adv\).*FILE\.py:FUNCTION.*struthio\.defenses\.hgd\.HGD"),
    ],
)
def test_what_cannot_be_meant(text, said):
    with pytest.raises(UserError, match=said):
        put_around(small_net(), [text])


def test_those_that_learn_are_made_as_is_said():
    assert set(LEARNT) == {name for name in DEFENSES if not by_name(defense_class(name))}
    x, y, net = torch.rand(10, 1, 28, 28), torch.arange(10), nn.Sequential(nn.Flatten(), nn.Linear(784, 10)).eval()
    known = {"nn": nn, "net": net, "other": net, "x": x, "y": y, "x_adv": x}
    known |= {defense_class(name).__name__: defense_class(name) for name in LEARNT}
    for name in ("nearest", "rbf", "ensemble"):  # the others train for seconds
        assert eval(LEARNT[name], known)(x).shape == (10, 10), name
    for name, line in LEARNT.items():
        compile(line, name, "eval")
        assert f"{defense_class(name).__name__}(" in line


def test_every_option_of_every_defence_is_explained(run):
    assert [entry["name"] for entry in run("list", "defenses", "--json").json()] == list(DEFENSES)
    for name in DEFENSES:
        shown = run("show", name, "--json").json()
        assert shown["summary"]
        assert all(option["meaning"] for option in shown["options"]), name
        assert ("--defense" in shown["examples"][0]) == by_name(defense_class(name))


def test_an_attack_on_a_defended_model(run):
    given = "attack", "--model", "zoo:digits-cnn", "--data", "data:digits", "-n", "4", "-t", "linf:0.2"
    assert run(*given, "--attack", "fgsm", "--defense", "median:3").err == ""
    said = run(*given, "--attack", "fgsm", "--defense", "bit-depth:2", "--defense", "noise").err
    assert "a stand-in for its gradient and that it is random" in " ".join(said.split())
    assert "stand-in" not in run(*given, "--attack", "random-search", "--defense", "bit-depth:2").err
    run(*given, "--defense", "jpge").refused("jpeg")


def test_chance_that_nobody_declared_is_noticed(run, tmp_path):
    (tmp_path / "chance.py").write_text(
        "import torch\nimport struthio as st\n\n\nclass Chance(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.net = st.load('zoo:digits-cnn')\n\n"
        "    def forward(self, x):\n        return self.net(torch.nn.functional.dropout(x, 0.3, training=True))\n"
    )
    given = "attack", "--data", "data:digits", "-n", "4", "-t", "linf:0.2", "--attack", "fgsm"
    said = run(*given, "--model", f"{tmp_path / 'chance.py'}:Chance").err
    assert "otherwise when it is asked again" in " ".join(said.split())


def test_an_audit_of_a_defended_model_doubts_and_repairs(run):
    said = run(
        "audit", "zoo:digits-cnn", "data:digits", "-t", "linf:0.3", "-n", "8", "--level", "quick", "--certify", "none",
        "--defense", "bit-depth:2",
    )  # fmt: skip
    assert said.status == 0
    assert "at most 0 %" in said.out
    assert "gradient-free-part" in said.out
