"""`struthio universal`: one change, found on the first rows and judged on the others."""

import json
import signal

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file


@pytest.fixture
def universal(run, models, rows):
    def call(*arguments, threat="linf:45/255"):
        given = ("--fit", 5, "-O", "passes=2", "-O", "step=1")
        return run("universal", f"{models}:colours", "--data", rows, "-t", threat, *given, *arguments)

    return call


@pytest.mark.parametrize("aim", [[], ["--to", "blue"]])
def test_shares_have_their_closed_form(universal, aim):
    """Blue is behind by 60 to 100 in the last rows, and comes up by 45 while red goes down by as much."""
    figures = universal("--json", *aim).json()
    assert (figures["fooled"]["count"], figures["fooled"]["of"]) == (3, 5)
    assert (figures["fooled_in_fitting"]["count"], figures["fooled_in_fitting"]["of"]) == (5, 5)
    assert figures["fooled_by_chance"]["count"] == 0
    assert figures["size"] == pytest.approx(45 / 255)
    assert figures["backwards_per_row"] == 2


def test_what_is_left(universal, tmp_path):
    said = universal("-o", tmp_path / "kept", "-n", 4)
    assert said.status == 0
    for words in ("found on 5, judged on 4 others", "75.0 %  3 of 4 fresh rows", "45/255", "by chance"):
        assert words in said.out
    delta = load_file(tmp_path / "kept" / "change.safetensors")["delta"]
    assert torch.equal(delta[[0, 2]].sign(), torch.tensor([-1.0, 1.0])[:, None, None].expand(2, 16, 16))
    picture = Image.open(tmp_path / "kept" / "change.png")
    assert picture.size == (16, 16)
    assert picture.getpixel((3, 3))[0] == 0  # red at its lowest
    assert picture.getpixel((3, 3))[2] == 255
    assert json.loads((tmp_path / "kept" / "universal.json").read_text())["fooled"]["of"] == 4


INTERRUPTED = """
import signal
from torch import nn

class Interrupted(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += x.requires_grad
        if x.requires_grad and self.calls == AT:
            signal.raise_signal(signal.SIGINT)
        return 40 * x.mean((2, 3))

def colours():
    return Interrupted()
"""


@pytest.fixture
def heard():
    """Ctrl-C is heard, also where the tests run in the background of a shell."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("at", [1, 2])
def test_ctrl_c_keeps_what_was_found(universal, models, tmp_path, heard, at):
    """One slope a pass: in the second blue is up already, in the first nothing is there yet."""
    models.write_text(INTERRUPTED.replace("AT", str(at)))
    said = universal("-o", tmp_path / "kept")
    assert said.status == 130
    assert "Traceback" not in said.err
    assert (tmp_path / "kept" / "change.safetensors").exists() == (at == 2)
    if at == 2:
        assert "stopped in pass 2: what was found until then is judged, and is kept in" in said.err
        figures = json.loads((tmp_path / "kept" / "universal.json").read_text())
        assert figures["complete"] is False
        assert (figures["fooled"]["count"], figures["fooled"]["of"]) == (3, 5)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-t", "l1:3"], "is defined in linf, l2; the threat is l1"),
        (["-t", "linf"], "radius"),
        (["-a", "universal-gradien"], "Did you mean: universal-gradient"),
        (["-a", "universal-deepfool"], "universal-deepfool has no option 'step'"),
        (["--fit", "10"], "none to judge"),
        (["--fit", "0"], "--fit is 0"),
        (["-n", "0"], "-n is 0"),
    ],
)
def test_mistakes(run, models, rows, arguments, words):
    threat = [] if "-t" in arguments else ["-t", "linf:0.1"]
    run("universal", f"{models}:colours", "--data", rows, "-O", "step=1", *threat, *arguments).refused(words)


def test_it_is_shown(run):
    assert "struthio universal zoo:digits-cnn" in run("show", "universal-deepfool").out
