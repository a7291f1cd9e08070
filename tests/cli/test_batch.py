import json
import os
import signal
import sqlite3
import textwrap
import warnings
from contextlib import closing

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from struthio.cli import batch


@pytest.fixture
def attack(run, models, rows):
    def call(*arguments, model="colours", data=rows, threat="linf:22/255"):
        named = ["--threat", threat] if threat else []
        return run("attack", "--model", f"{models}:{model}", "--data", data, *named, *arguments)

    return call


def test_figures_have_their_closed_form(attack):
    """Rows 0 to 3 are behind by 10 to 40 levels and fall to 22 on both sides; the last two are wrong already."""
    found = attack("--json").json()
    assert found["complete"]
    assert (found["clean_accuracy"]["count"], found["clean_accuracy"]["of"]) == (8, 10)
    assert found["robust_accuracy"]["count"] == 4
    assert (found["success_rate"]["count"], found["success_rate"]["of"]) == (4, 8)
    assert 5 / 255 < found["median_size"] <= found["mean_size"] * 1.5 <= 22.01 * 1.5 / 255
    assert found["clean_accuracy"]["low"] == pytest.approx(0.4439, abs=1e-4)
    assert found["clean_accuracy"]["high"] == pytest.approx(0.9748, abs=1e-4)


def test_the_table_fits_and_says_all(attack):
    said = attack("-n", 6)
    assert said.status == 0
    assert max(map(len, said.out.splitlines())) <= 80
    for words in ("6 of 10 rows", "PGD(), untargeted", "clean accuracy", "66.7 %", "4 of 6 attacked", "prepared"):
        assert words in said.out


def test_rows_and_adversarials_are_kept(attack, tmp_path):
    attack("-o", tmp_path / "kept", "--batch-size", 3)
    table = pq.read_table(tmp_path / "kept" / "rows.parquet").to_pydict()
    assert table["id"] == list(range(10))
    assert table["label"] == [0] * 8 + [1] * 2
    assert table["success"] == [True] * 4 + [False] * 4 + [True] * 2
    assert table["correct"] == [True] * 8 + [False] * 2
    assert table["forwards"][-1] == 1
    shard = load_file(tmp_path / "kept" / "adversarials-00000.safetensors")
    assert shard["id"].tolist() == list(range(10))
    assert shard["x_adv"].shape == (10, 3, 16, 16)
    means = shard["x_adv"].mean((2, 3))
    assert means.argmax(1).tolist() == table["predicted_adv"]
    summary = json.loads((tmp_path / "kept" / "summary.json").read_text())
    assert summary["attack"] == "PGD()"
    assert summary["complete"]


def test_no_answer_depends_on_the_batch_size(attack, tmp_path):
    for size in (1, 4):
        attack("-o", tmp_path / str(size), "--batch-size", size, "--no-prepare")
    first, second = (pq.read_table(tmp_path / size / "rows.parquet").to_pydict() for size in "14")
    assert first["forwards"] == second["forwards"]
    assert first["size"] == pytest.approx(second["size"], abs=1e-6)


def test_more_rows_are_added_to_those_that_are_there(attack, tmp_path, monkeypatch):
    monkeypatch.setattr("struthio.cli.saving.SHARD_BYTES", 1)
    for rows in (2, 10):
        attack("-o", tmp_path / "kept", "--batch-size", 2, "-n", rows)
        assert len(list((tmp_path / "kept").glob("*.safetensors"))) == rows / 2
        assert pq.read_table(tmp_path / "kept" / "rows.parquet")["id"].to_pylist() == list(range(rows))


def test_goals_by_name_and_number(attack):
    by_name = attack("--to", "scarlet", "--json").json()
    assert by_name["success_rate"] is None  # every row is red already
    assert attack("--goal", "to:2", "--json").json()["success_rate"]["count"] == 4
    assert attack("--goal", "second", "--json").json()["success_rate"]["count"] == 4
    attack("--to", "purple").refused("no class is called 'purple'")
    attack("--goal", "to:").refused("is no goal")


def test_restarts_and_options_reach_the_attack(attack):
    assert attack("--restarts", 3, "-O", "loss=margin", "--json").json()["attack"] == "PGD(restarts=3, loss=Margin())"
    assert attack("--restarts", 2, "-a", "fgsm", "--json").json()["attack"] == "Repeat(attack=FGSM(), times=2)"
    assert attack("--levels", "--json").json()["threat"] == "Levels(threat=Linf(eps=22/255))"


def test_the_seed_is_told(attack):
    assert attack("--seed", 5, "--json").json()["seed"] == 5


def test_pictures_without_labels_keep_their_names(attack, tmp_path):
    folder = tmp_path / "folder"
    folder.mkdir()
    for name, colour in (("a.png", (200, 100, 100)), ("b.png", (100, 100, 200))):
        Image.new("RGB", (16, 16), colour).save(folder / name)
    said = attack("-o", tmp_path / "kept", data=folder, threat="linf:60/255")
    assert said.status == 0
    assert "no labels" in said.err
    table = pq.read_table(tmp_path / "kept" / "rows.parquet").to_pydict()
    assert table["name"] == ["a.png", "b.png"]
    assert table["label"] == [0, 2]


def test_probabilities_are_noted_and_taken_as_such(attack):
    said = attack("--json", model="sure")
    assert said.status == 0
    assert "look like probabilities" in said.err
    assert said.json()["success_rate"]["count"] == 4


def test_a_model_that_abstains_has_to_be_fooled_unnoticed(attack):
    """Below 138 levels of red it is flagged, so blue, 10 to 80 levels behind and 22 up, passes it in three rows."""
    said = attack("--json", "-O", "loss=margin", model="wary")
    assert "an input counts only where it is wrong and not flagged" in said.err
    found = said.json()
    assert found["goal"] == "untargeted, unnoticed"
    assert (found["success_rate"]["count"], found["success_rate"]["of"]) == (3, 8)
    assert found["robust_accuracy"]["count"] == 5
    blue = attack("--json", "-O", "loss=margin", "--goal", "to:2", model="wary").json()
    assert (blue["success_rate"]["count"], blue["success_rate"]["of"]) == (3, 10)


def test_dlr_on_two_classes(attack, rows, tmp_path):
    np.savez(tmp_path / "two.npz", x=np.load(rows)["x"], y=np.zeros(10, np.int64))
    attack("-O", "loss=dlr", model="two", data=tmp_path / "two.npz").refused("2", "Margin()")


def test_labels_that_the_model_does_not_have(attack, rows, tmp_path):
    np.savez(tmp_path / "nine.npz", x=np.load(rows)["x"], y=np.full(10, 9))
    attack(data=tmp_path / "nine.npz").refused("the model knows")


def test_a_model_that_numbers_the_classes_otherwise_is_doubted(attack, rows, tmp_path):
    """Red rows and rows with red and blue exchanged, labelled in the order of the alphabet."""
    red = np.load(rows)["x"]
    names = np.array(["blue", "green", "red"])
    np.savez(tmp_path / "turned.npz", x=np.concatenate([red, red[:, ::-1]]), y=[2] * 10 + [0] * 10, class_names=names)
    assert "label 0 ('blue') is answered 2, 2 ('red') is answered 0" in attack(data=tmp_path / "turned.npz").err


def test_a_model_that_is_hardly_ever_right_is_doubted(attack, rows, tmp_path):
    np.savez(tmp_path / "other.npz", x=np.repeat(np.load(rows)["x"], 3, 0), y=np.full(30, 1))
    assert "number their classes alike" in attack(data=tmp_path / "other.npz").err
    assert "number their classes alike" not in attack().err


def test_nan_data(attack, tmp_path):
    x = np.full((4, 3, 16, 16), 0.5, np.float32)
    x[2, 0, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", x=x, y=np.zeros(4, np.int64))
    attack(data=tmp_path / "nan.npz").refused("NaN")


def test_a_checkpoint_with_code_in_it(attack, tmp_path):
    class Evil:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "ran"),))

    torch.save({"scale": Evil()}, tmp_path / "evil.pt")
    attack("--weights", tmp_path / "evil.pt", model="weighed").refused("evil.pt")
    assert not (tmp_path / "ran").exists()


def test_weights_are_told(attack, tmp_path):
    torch.save({"scale": torch.tensor(2.0)}, tmp_path / "good.pt")
    assert attack("--weights", tmp_path / "good.pt", "--json", model="weighed").json()["weights"].endswith("good.pt")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-t", "linf:8"], ["Is 8/255 meant?"]),
        (["-n", "0"], ["-n is 0"]),
        (["--batch-size", "0"], ["--batch-size is 0"]),
        (["--full-size"], ["--full-size is for pictures"]),
        (["--rate", 5], ["--rate is for a model behind an --endpoint"]),
        (["--steps", 5, "-O", "steps=6"], ["steps of pgd was given twice"]),
        (["-a", "bim", "-t", "l2:1"], ["linf", "the threat is l2"]),
        (["-O", "loss=huge"], ["is a loss, one of ce, margin, logit, dlr"]),
        (["-O", "steps=2.5"], ["steps takes int"]),
    ],
)
def test_mistakes_say_what_is_needed(attack, arguments, words):
    threat = None if "-t" in arguments else "linf:22/255"
    attack(*arguments, threat=threat).refused(*words)


def test_what_was_not_said(run, attack, models):
    attack(threat=None).refused("--threat linf:8/255")
    run("attack", "--data", "data:digits", "--threat", "linf:0.1").refused("--model zoo:digits-cnn")
    run("attack").refused("nothing to attack was given")
    attack(data="data:digitz").refused("data:digits")


def test_an_empty_folder_and_an_unwritable_one(attack, tmp_path):
    (tmp_path / "empty").mkdir()
    attack(data=tmp_path / "empty").refused("holds no picture")
    (tmp_path / "file").write_text("in the way")
    attack("-o", tmp_path / "file").refused("a folder to write into is needed")


@pytest.mark.parametrize(("thrown", "status"), [(KeyboardInterrupt(), 130), (batch.UserError("row 7 is odd"), 2)])
def test_what_is_done_is_kept_when_it_ends_early(attack, tmp_path, monkeypatch, thrown, status):
    whole = batch.stream

    def cut(*arguments, **options):
        parts = whole(*arguments, **options)
        yield next(parts)
        yield next(parts)
        raise thrown

    monkeypatch.setattr(batch, "stream", cut)
    said = attack("-o", tmp_path / "kept", "--batch-size", 3, "--json")
    assert said.status == status
    assert said.json()["rows"] == 6
    assert said.json()["complete"] is False
    assert "6 of 10 rows are done" in said.err
    assert pq.read_table(tmp_path / "kept" / "rows.parquet").num_rows == 6
    assert len(load_file(tmp_path / "kept" / "adversarials-00000.safetensors")["id"]) == 6


SIGNALLING = """
    import os
    import pathlib
    from torch import nn

    HERE = pathlib.Path(__file__).parent

    class Signalling(nn.Module):
        # Ends its own process when it was asked so many times as a file says.

        calls = 0

        def forward(self, x):
            self.calls += 1
            if (HERE / "ends").exists() and self.calls == int((HERE / "at").read_text()):
                os.kill(os.getpid(), int((HERE / "ends").read_text()))
            return 40 * x.mean((2, 3))

    def signalling():
        return Signalling()
"""


@pytest.fixture
def signalled(ended, tmp_path, rows):
    """An attack that a real signal ends when the model was asked so many times."""
    (tmp_path / "signalling.py").write_text(textwrap.dedent(SIGNALLING))
    given = ["--data", rows, "-t", "linf:22/255", "--batch-size", 2, "--no-prepare", "--steps", 5]

    def call(folder, how=None, at=30):
        (tmp_path / "ends").unlink(missing_ok=True)
        if how is not None:
            (tmp_path / "ends").write_text(str(int(how)))
            (tmp_path / "at").write_text(str(at))
        status = ended("attack", "--model", f"{tmp_path}/signalling.py:signalling", *given, "-o", folder)
        return status, (tmp_path / "said.txt").read_text()

    return call


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix in (".parquet", ".safetensors")}


def test_a_killed_attack_goes_on_bit_for_bit(signalled, tmp_path, monkeypatch):
    """Killed twice, once it even was interrupted; shards of five rows at most, so that some are full and one is not."""
    monkeypatch.setattr("struthio.cli.saving.SHARD_BYTES", 4 * 768 * 4)
    assert signalled(tmp_path / "whole")[0] == 0
    for how, at in ((signal.SIGKILL, 18), (signal.SIGINT, 14), (signal.SIGKILL, 7)):
        status, said = signalled(tmp_path / "kept", how, at)
        assert status == (130 if how == signal.SIGINT else -9), said
    status, said = signalled(tmp_path / "kept")
    assert status == 0
    assert "finished rows of this attack: it goes on with the other" in said
    assert files_of(tmp_path / "kept") == files_of(tmp_path / "whole")
    kept, whole = (json.loads((tmp_path / name / "summary.json").read_text()) for name in ("kept", "whole"))
    assert kept | {"seconds": 0} == whole | {"seconds": 0}
    status, said = signalled(tmp_path / "kept")
    assert "holds 10 finished rows of this attack: nothing is left to do" in said
    assert files_of(tmp_path / "kept") == files_of(tmp_path / "whole")


def test_a_real_ctrl_c(signalled, tmp_path):
    status, said = signalled(tmp_path / "kept", signal.SIGINT)
    assert status == 130, said
    assert "Traceback" not in said
    done = pq.read_table(tmp_path / "kept" / "rows.parquet").num_rows
    assert 2 <= done < 10
    assert f"{done} of 10 rows are done, and kept in" in said
    assert "robust accuracy" in said
    assert json.loads((tmp_path / "kept" / "summary.json").read_text())["rows"] == done


def test_another_attack_is_refused_with_what_differs(attack, tmp_path, models, rows):
    kept = ("-o", tmp_path / "kept", "-n", 4)
    attack(*kept)
    attack(*kept, "--seed", 1).refused("another attack (seed: given 1, there 0)")
    attack(*kept, "--steps", 5).refused('given "PGD(steps=5)", there "PGD()"')
    attack(*kept, "--no-prepare", "--row-budget", 9).refused("prepare: given false, there true; row_budget: given 9")
    attack("-o", tmp_path / "kept", "-n", 3).refused("4 finished rows of this attack, and 3 are asked for")
    assert attack("-o", tmp_path / "kept", "--json").json()["rows"] == 10
    models.write_text(models.read_text().replace("40 * x.mean", "80 * x.mean"))
    attack("-o", tmp_path / "kept").refused("another --model: the first rows were answered otherwise")
    np.savez(rows, x=np.load(rows)["x"][::-1], y=np.load(rows)["y"])
    attack("-o", tmp_path / "kept").refused("digest of the data: given")


def test_a_mistake_leaves_the_folder_free(attack, tmp_path, rows):
    x = np.load(rows)["x"] / np.float32(255)
    x[:, 0, 3, 3] = np.nan
    np.savez(tmp_path / "nan.npz", x=x, y=np.zeros(10, np.int64))
    attack("-o", tmp_path / "kept", data=tmp_path / "nan.npz").refused("NaN")
    assert attack("-o", tmp_path / "kept").status == 0


def test_rows_without_a_journal_are_not_written_over(attack, tmp_path):
    attack("-o", tmp_path / "kept", "-n", 2)
    (tmp_path / "kept" / "journal.sqlite").unlink()
    attack("-o", tmp_path / "kept", "-n", 2).refused("holds rows.parquet, of which its journal.sqlite knows nothing")


def damage_shard(kept):
    path = kept / "adversarials-00001.safetensors"
    path.write_bytes(path.read_bytes()[:-1])


def damage_row(kept):
    with closing(sqlite3.connect(kept / "journal.sqlite")) as database, database:
        database.execute("UPDATE records SET value = zeroblob(9) WHERE kind = 'batch' AND key = ?", ((2).to_bytes(8),))


@pytest.mark.parametrize(("damage", "left"), [(damage_shard, 4), (damage_row, 0)])
def test_what_is_damaged_is_noticed_and_done_again(attack, tmp_path, monkeypatch, damage, left):
    """Batches of two rows, shards of four: the second shard, and a batch of the first."""
    monkeypatch.setattr("struthio.cli.saving.SHARD_BYTES", 4 * 768 * 4)
    given = ("-o", tmp_path / "kept", "--batch-size", 2)
    attack(*given)
    whole = files_of(tmp_path / "kept")
    assert len(whole) == 4
    damage(tmp_path / "kept")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        said = attack(*given)
    assert f"after its first {left} rows was damaged" in said.err
    assert files_of(tmp_path / "kept") == whole
