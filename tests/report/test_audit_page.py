"""The page of an audit: what it says, that it needs nothing else, and that nothing from outside gets into it."""

import base64
import io
import itertools
import json
import re
import shlex
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from struthio.audit import Store, summarise
from struthio.checks import UserError
from struthio.report.audit_figures import curve, detection, pieces, round_numbers
from struthio.report.audit_page import page, write_page, write_reports
from struthio.report.repeat import again, command

VOID = {"meta", "img", "br"}


class Reader(HTMLParser):
    """Collects the words and the elements of a page, and that every element is closed."""

    def __init__(self, text):
        super().__init__()
        self.words, self.elements, self.open = [], [], []
        self.feed(text)
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open[-1:] != ["style"]:
            self.words.append(data)


def read(store, at_least=None):
    return Reader(page(store, summarise(store), at_least))


def test_it_says_the_bounds_with_their_intervals(made):
    said = read(made()).text
    assert "Robust accuracy is at most 50.0 % and at least 20.0 %" in said
    for words in ("5 of 10", "18.7 % to 81.3 %", "2 of 10", "2.5 % to 55.6 %", "8 of 10", "44.4 % to 97.5 %"):
        assert words in said, words
    for words in ("2 proved to hold", "3 held against every attack", "3 fell to an attack", "1 mistaken before"):
        assert words in said, words
    assert "No doubts were found" in said
    assert "No gradient reaches the input" in said


def test_every_element_is_closed_and_nothing_is_fetched(made, doubted):
    seen = read(made(plan=doubted), 0.4)
    assert not seen.open
    for tag, attributes in seen.elements:
        assert tag not in {"script", "link", "iframe", "object", "base", "form"}
        assert not any(name.startswith("on") for name in attributes)
        assert attributes.get("src", "data:image/png").startswith("data:image/png")
        assert attributes.get("href", "#").startswith("#")
    policy = next(a["content"] for tag, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")


def test_a_script_in_any_text_stays_text(made, hostile):
    job, plan = hostile
    written = page(*(lambda store: (store, summarise(store)))(made(job=job, plan=plan)))
    assert "<script" not in written
    seen = Reader(written)
    assert seen.text.count("<script>alert(1)</script>") > 12
    assert not seen.open
    assert "\x00" not in written
    assert not {"script", "onerror"} & {tag for tag, _ in seen.elements}


def test_doubts_say_evidence_meaning_and_remedy(made, doubted):
    said = read(made(plan=doubted)).text
    for words in ("1 doubt speaks against", "The gradient is zero although", "100 % of the rows is exactly zero",
                  "stand still on these rows", "taken of the identity", "ValueError: too dark"):  # fmt: skip
        assert words in said, words
    assert "No doubts" not in said


def test_several_threats_are_counted_together(made):
    threats = {"linf:0.1": "Linf(eps=0.1)", "l2:1": "L2(eps=1.0)"}
    said = read(made(job={"threats": threats}, fell={"linf:0.1": (1, 2), "l2:1": (2, 3, 4)})).text
    assert "All threats together Robust accuracy is at most 40.0 %" in said
    assert "at most 60.0 %" in said
    assert "at most 50.0 %" in said


def test_the_gate_is_the_lower_limit(made):
    store = made()
    assert "The gate is passed" in read(store, 0.18).text
    assert "The gate is missed" in read(store, 0.19).text
    assert "gate" not in read(store).text


def test_an_unfinished_audit_says_so(made):
    assert "not finished" not in read(made()).text
    assert "not finished. linf:0.1: 10 of 20 rows" in read(made(job={"rows": 20}, plan={"finished": False})).text


def test_an_audit_without_any_batch_has_a_page(made, tmp_path):
    with Store.open(tmp_path / "begun", made().job) as store:
        write_reports(store, tmp_path / "begun", at_least=0.4)
    assert "nothing yet" in (tmp_path / "begun/report.html").read_text()


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 5), (3, 300, 200)])
def test_pictures_are_shown_before_noise_after(made, shape):
    store = made(shape=shape)
    seen = read(store)
    uris = [attributes["src"] for tag, attributes in seen.elements if tag == "img"]
    assert len(uris) == 3 * 8  # three fell, five held
    before, noise, after = (
        np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1])))) / 255 for uri in uris[:3]
    )
    assert max(before.shape[:2]) <= 128
    if max(shape) > 128:
        return
    kept = store.pictures("linf:0.1", 0)
    x, x_adv = (kept[name][0].permute(1, 2, 0).squeeze(-1).numpy() for name in ("shown_x", "shown_adv"))
    assert np.abs(before - x).max() < 0.003
    assert np.abs(after - x_adv).max() < 0.003
    assert np.abs(noise - np.clip(0.5 + 10 * (x_adv - x), 0, 1)).max() < 0.003
    assert "row 1: class 1 → class 4 size 0.1, won by margin" in seen.text
    assert "row 4: class 1, stayed" in seen.text


def test_classes_have_their_names(made):
    store = made()
    store.note("class names", ["0", "<script>1</script>", "goldfish, Carassius auratus"])
    seen = read(store)
    for words in ("row 1: <script>1</script> → class 4", "row 2: goldfish → class 4", "row 6: class 0, stayed"):
        assert words in seen.text, words
    assert "script" not in {tag for tag, _ in seen.elements}


def test_rows_that_are_no_pictures_are_a_table(made):
    seen = read(made(shape=(6,)))
    assert "img" not in {tag for tag, _ in seen.elements}
    assert "largest changes" in seen.text
    assert re.search(r"value \d: 0\.\d+ → 0\.\d+", seen.text)


def test_the_command_repeats_the_job(made):
    job = {"model": "my net.py:build", "repair": False, "stand_ins": {"preprocess": "None", "net": "softer"}}
    words = shlex.split(command(made(job=job).job))
    assert words[:4] == ["struthio", "audit", "my net.py:build", "data:digits:test"]
    for option, value in (("--threat", "linf:0.1"), ("--seed", "3"), ("--count", "10"), ("--batch-size", "10"),
                          ("--level", "standard"), ("--stand-in", "preprocess=identity")):  # fmt: skip
        assert words[words.index(option) + 1] == value
    assert "--no-repair" in words
    assert words.count("--stand-in") == 1


def test_an_audit_of_tensors_is_repeated_in_python(made):
    store = made(
        job={"data": "10 rows", "model": "Net", "threats": {"l2:1": "L2(eps=1)", "Linf(eps=2, box=None)": "..."}}
    )
    said = again(store.job)
    assert said.startswith(
        "struthio.audit(model, (x, labels), ['l2:1', Linf(eps=2, box=None)], level='standard', rows=10"
    )
    assert again({**store.job, "threats": {"small": "L2(eps=1)"}}).startswith(
        "struthio.audit(model, (x, labels), {'small': L2(eps=1)}, level"
    )
    text = page(store, summarise(store))
    assert "10 rows given in Python, level" in text
    assert "are those that were given" in text


def test_the_command_is_understood_by_the_command_line(made):
    assert parsed(command(made(job={"model": "jpeg:50 + bit-depth + zoo:digits-cnn"}).job)).defense == (
        "bit-depth",
        "jpeg:50",
    )
    options = parsed(command(made(job={"repair": False, "stand_ins": {"net": "None"}}).job))
    assert (options.seed, options.count, options.batch_size, options.repair) == (3, 10, 10, False)


def test_the_example_for_build_servers_is_understood_too():
    path = Path(__file__).parents[2] / "examples/ci_audit.yml"
    line = re.search(r"(struthio audit .*?)\n\n", path.read_text(), re.DOTALL)[1]
    options = parsed(line)
    assert (options.at_least, options.output, options.threat) == (0.4, "audit", ("linf:8/255",))


def parsed(line):
    from struthio.cli.app import make_app

    _, bound, _ = make_app().parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    return bound.arguments["options"]


def test_pieces_cover_every_row_once(made):
    verdict = summarise(made()).verdict
    bar = pieces(verdict.count)
    assert [piece.count for piece in bar] == [2, 3, 3, 1, 1]
    assert bar[-1].left + bar[-1].width == pytest.approx(100)


def test_the_curve_falls_from_the_upper_left_and_marks_the_radius(made):
    verdict = summarise(made()).verdict
    drawn = curve(verdict)
    points = [tuple(map(float, point.split(","))) for point in drawn.line.split()]
    assert points[0][0] == 0
    assert points[-1][0] == pytest.approx(100)
    assert all(a[0] <= b[0] and a[1] <= b[1] + 1e-9 for a, b in itertools.pairwise(points))
    end = max(radius for radius, _ in verdict.curve())
    assert drawn.eps == pytest.approx(100 * 0.1 / end)
    assert drawn.median == pytest.approx(100 * verdict.median / end)
    verdict.smallest = []
    assert curve(verdict) is None


def test_a_detector_has_its_roc_curve(made):
    store = made()
    found = summarise(store)
    assert found.figures()["threats"]["linf:0.1"]["detection"] is None
    assert detection(found.verdict) is None
    assert "detector" not in Reader(page(store, found)).text
    found.verdict.suspicion, found.verdict.suspicion_adv = [-3.0, -2.0, -1.0, 1.0], [-2.5, 0.5]
    said = found.figures()["threats"]["linf:0.1"]["detection"]
    assert said["auc"] == 4 / 8  # of the pairs, -2.5 is above one clean row and 0.5 above three
    assert (said["clean_flagged"]["share"], said["adversarial_flagged"]["share"]) == (0.25, 0.5)
    assert said["roc"] == [[0, 0], [0.25, 0], [0.25, 0.5], [0.75, 0.5], [0.75, 1], [1, 1]]
    drawn = detection(found.verdict)
    assert drawn.line.startswith("0.00,100.00 25.00,100.00 25.00,50.00")
    assert drawn.at == (25, 50)
    text = Reader(page(store, found)).text
    assert "it flags 25.0 % (1 of 4;" in text
    assert "The area under the curve is 0.500" in text


def test_surrogates_are_named_and_repeated(made):
    store = made(job={"surrogates": {"zoo:digits-robust": "0123abcd"}})
    assert parsed(command(store.job)).surrogate == ("zoo:digits-robust",)
    said = read(store).text
    assert "surrogate zoo:digits-robust 0123abcd" in said
    assert "Inputs made for another model beat" in said
    assert "Inputs made for another model beat" not in read(made()).text


@pytest.mark.parametrize(
    ("end", "ticks"), [(1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.35, [0, 0.1, 0.2, 0.3]), (784, [0, 200, 400, 600])]
)
def test_ticks_are_round(end, ticks):
    assert round_numbers(end) == pytest.approx(ticks)


def test_a_radius_without_limit_and_changes_that_nothing_found(made):
    store = made(plan={"eps": float("inf"), "names": ["margin"], "attacks": ["PGD()"]})
    verdict = summarise(store).verdict
    verdict.smallest = [float("inf")] * 10
    assert curve(verdict).eps is None
    assert curve(verdict).median is None
    assert "Robust accuracy" in read(store).text


def test_thousands_of_classes_are_cut_short(made):
    from struthio.report.audit_page import CLASSES

    store = made()
    found = summarise(store)
    found.verdict.classes.update(dict.fromkeys(range(100), found.verdict.classes[0]))
    seen = Reader(page(store, found))
    assert f"The {CLASSES} weakest of 100 classes" in seen.text
    assert len(re.findall(r"\d+ of \d+ held", seen.text)) == CLASSES


def test_all_four_files_are_written(made, tmp_path):
    store = made()
    write_reports(store, store.folder, at_least=0.9)
    assert json.loads((store.folder / "audit.json").read_text()) == json.loads(json.dumps(summarise(store).figures()))
    for name in ("report.html", "junit.xml", "audit.sarif"):
        assert (store.folder / name).stat().st_size > 100
    write_page(store, tmp_path / "alone.html")
    assert (tmp_path / "alone.html").read_text().startswith("<!doctype html>")


def test_a_folder_that_is_not_there_is_said_plainly(made, tmp_path):
    with pytest.raises(UserError, match="nowhere"):
        write_page(made(), tmp_path / "nowhere" / "report.html")


def test_the_same_store_gives_the_same_page(made):
    store = made()
    torch.manual_seed(1)
    first = page(store, summarise(store), 0.4)
    torch.manual_seed(2)
    assert page(store, summarise(store), 0.4) == first
