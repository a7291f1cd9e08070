"""A real service on the loopback, in health and in sickness: what is sent is counted, and nothing is spent over."""

import json
import math
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

import struthio as st
from struthio import UserError
from struthio.data.journal import Journal
from struthio.meter import BudgetSpent, Gone
from struthio.models.answer import find
from struthio.models.post import retry_after
from tests import service as services
from tests.service import Running, Service

_, X, LABELS = next(iter(st.load_data("data:digits").batches(12)))
NET = st.load("zoo:digits-cnn")
with torch.no_grad():
    OUTPUTS = NET(X)
GOAL = st.Untargeted(OUTPUTS.argmax(1))


@pytest.fixture(scope="module")
def running():
    service = Service(NET)
    with Running(service) as running:
        yield service, running.url


@pytest.fixture
def service(running):
    made, _ = running
    made.plan, made.inputs, made.requests, made.most, made.times = [], 0, 0, 0, []
    return made


@pytest.fixture
def url(running, service, monkeypatch):
    monkeypatch.setattr("struthio.models.endpoint.FIRST_WAIT", 0.01)
    return running[1]


# ---- a model like any other


def test_scores_are_the_models(service, url):
    model = st.Endpoint(f"{url}/scores", batch=5)
    torch.testing.assert_close(model(X), OUTPUTS)
    assert (model.asked, model.unsure, service.inputs) == (12, 0, 12)
    assert (service.requests, service.most) == (3, 5)
    assert model.cost.tolist() == [1] * 12


def test_probabilities_become_logarithms(service, url):
    outputs = st.Endpoint(f"{url}/probabilities", outputs="probabilities")(X)
    torch.testing.assert_close(outputs, OUTPUTS.log_softmax(1).clamp(min=math.log(1e-12)), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("labels", {"classes": 10}),
        ("names", {"classes": [f"digit {i}" for i in range(10)], "parse": "results.*.class"}),
        ("names", {"classes": 10, "parse": lambda answer: [int(r["class"][-1]) for r in answer["results"]]}),
    ],
)
def test_labels_become_one_hot(service, url, form, options):
    outputs = st.Endpoint(f"{url}/{form}", outputs="labels", **options)(X)
    assert torch.equal(outputs, torch.eye(10)[OUTPUTS.argmax(1)])
    assert torch.equal(st.Endpoint(f"{url}/{form}", outputs="labels", **options)(X[:1]), outputs[:1])


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("png", {"request": st.Request("instances", encoding="png", each="b64")}),
        ("tensorflow", {"request": st.Request("instances", encoding="bytes", layout="channels-last")}),
        ("single", {"request": st.Request("model.image", alone=True, more={"model": {"v": 2}}), "batch": 1}),
        ("single", {"request": lambda v: {"model": {"image": v[0].tolist()}}, "batch": 1, "parse": "logits"}),
        (
            "other",
            {"request": lambda values: {"inputs": values.tolist()}, "parse": lambda answer: answer["predictions"]},
        ),
    ],
)
def test_forms_that_services_use(service, url, form, options):
    x = (X * 255).round() / 255
    if form == "single":
        options = {"parse": "logits", **options}
    with torch.no_grad():
        torch.testing.assert_close(st.Endpoint(f"{url}/{form}", **options)(x), NET(x))


def test_what_eight_bits_cannot_say_is_refused(service, url):
    with pytest.raises(UserError, match="Levels"):
        st.Endpoint(f"{url}/png", request=st.Request("instances", encoding="png", each="b64"))(X + 0.001)
    assert service.requests == 0


def test_nothing_is_asked_twice(service, url):
    model = st.Endpoint(f"{url}/scores")
    outputs = model(torch.cat([X, X[:4]]))
    assert (model.asked, service.inputs) == (12, 12)
    assert torch.equal(model(X[3:7]), outputs[3:7])
    assert (model.asked, model.cost.tolist()) == (12, [0] * 4)
    forgetful = st.Endpoint(f"{url}/scores", cache=False)
    forgetful(torch.cat([X, X[:4]]))
    forgetful(X)
    assert (forgetful.asked, service.inputs) == (28, 40)


def test_few_answers_are_remembered_where_memory_is_short(service, url, monkeypatch):
    monkeypatch.setattr("struthio.models.remembered.MOST", 5)
    model = st.Endpoint(f"{url}/scores")
    torch.testing.assert_close(model(X), OUTPUTS)
    model(X[-5:])
    assert model.asked == 12
    model(X[:1])
    assert model.asked == 13


def test_headers_are_sent_and_passwords_not_shown(service, url):
    secret = url.replace("http://", "http://me:secret@")
    model = st.Endpoint(f"{secret}/scores?key=hidden", headers={"x-key": "abc"})
    model(X[:1])
    assert service.heard["x-key"] == "abc"
    assert service.heard["authorization"].startswith("Basic ")
    assert "secret" not in repr(model)
    assert "hidden" not in repr(model)


def test_the_environment_changes_no_way(service, url, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    torch.testing.assert_close(st.Endpoint(f"{url}/scores")(X), OUTPUTS)


# ---- attacks


@pytest.mark.parametrize(
    ("form", "attack", "threat", "options"),
    [
        ("scores", st.Square(queries=60), st.L2(1.5), {}),
        ("labels", st.HopSkipJump(queries=60), st.L2(), {"outputs": "labels", "classes": 10}),
    ],
)
def test_attacks_find_over_the_wire_what_they_find_beside_it(service, url, form, attack, threat, options):
    x, goal = X[6:], GOAL[6:]
    near = attack(st.scores_only(NET) if form == "scores" else st.labels_only(NET), x, goal, threat, 1)
    model = st.Endpoint(f"{url}/{form}", **options)
    far = attack(model, x, goal, threat, 1)
    assert far.success.sum() >= max(1, int(near.success.sum()) - 1)  # rounding of other batch sizes may tip a row
    assert service.inputs == model.asked == int(far.forwards.sum())
    assert int(far.forwards.sum()) < int(near.forwards.sum())  # the judge's question was a repetition
    with torch.no_grad():
        assert torch.equal(far.success, goal.success(NET(far.x_adv)))


def test_gradients_can_be_estimated(service, url):
    result = st.PGD(steps=2, gradient=st.Estimated(samples=4))(
        st.Endpoint(f"{url}/scores"), X[:2], GOAL[:2], st.Linf(0.2)
    )
    assert service.inputs == int(result.forwards.sum())


def test_both_budgets_are_kept(service, url):
    model = st.Endpoint(f"{url}/scores", budget=100)
    result = st.Square(queries=1000)(model, X, GOAL, st.Linf(0.02), 1)
    assert service.inputs == model.asked <= 100
    assert service.inputs > 100 - 12
    with torch.no_grad():
        outputs = NET(result.x_adv)
    assert torch.equal(result.success, GOAL.success(outputs))
    assert bool((result.score >= GOAL.score(st.Margin(), OUTPUTS) - 1e-4).all())  # never worse than x itself
    with pytest.raises(BudgetSpent, match="budget of 100"):
        model(X * 0.5)
    assert service.inputs == model.asked <= 100
    each = st.Square(queries=1000)(st.Endpoint(f"{url}/scores"), X, GOAL, st.Linf(0.02), 1, budget=9)
    assert int(each.forwards.max()) <= 9


@pytest.mark.parametrize(
    ("plan", "view"),
    [
        (["answer", "fail"], st.labels_only),
        (["answer", "fail", "fail"], lambda model: model),
        (["fail", "answer"], st.scores_only),
    ],
)
def test_what_is_put_again_is_in_the_budget_of_its_row(service, url, plan, view):
    service.plan = plan * 50
    result = st.Square(queries=1000)(view(st.Endpoint(f"{url}/scores")), X, GOAL, st.Linf(0.02), 1, budget=9)
    assert service.inputs == int(result.forwards.sum())
    assert 6 <= int(result.forwards.max()) <= 9
    with torch.no_grad():
        assert torch.equal(result.success, GOAL.success(NET(result.x_adv)))


def test_a_row_that_cannot_pay_for_a_repetition_does_not_hold_the_others_up(service, url):
    """Row 1 may be sent once, and its only question fails; the others are answered."""
    service.plan = ["fail"]
    model = st.Endpoint(f"{url}/scores")
    model.allowed = torch.tensor([2, 1, 3])
    outputs = model(X[:3])
    assert outputs.isnan().any(1).tolist() == [False, True, False]
    assert (model.cost.tolist(), service.inputs) == ([2, 1, 2], 5)
    service.plan = ["fail"]
    model.allowed = torch.tensor([1])
    assert model(X[5:6]).isnan().all()
    torch.testing.assert_close(model(X[:3])[1], OUTPUTS[1])  # the next call knows of no limit


def test_a_view_shows_no_more_of_what_broke_off_than_of_the_rest(service, url):
    service.plan = ["answer"] + ["fail"] * 9
    with pytest.raises(Gone) as caught:
        st.labels_only(st.Endpoint(f"{url}/scores", batch=5))(X)
    assert torch.equal(caught.value.outputs[:5], torch.eye(10)[OUTPUTS[:5].argmax(1)])
    assert caught.value.outputs[5:].isnan().all()


def kept(path, url):
    return Journal.open(path, {"service": url})


def test_answers_are_kept_for_another_endpoint(service, url, tmp_path):
    with kept(tmp_path / "answers", url) as journal:
        outputs = st.Endpoint(f"{url}/scores", kept=journal)(X[:8])
    with kept(tmp_path / "answers", url) as journal:
        second = st.Endpoint(f"{url}/scores", budget=9, kept=journal)
        assert (second.asked, second.left) == (8, 9)  # the 8 are paid for, and count when they are asked again
        assert torch.equal(second(X[[0, 0, *range(1, 8)]])[1:], outputs)
        assert second.cost.tolist() == [1, 0] + [1] * 7
        assert (second.asked, second.left, service.inputs) == (8, 1, 8)
        second(X[:8])
        assert second.cost.sum() == 0
        with pytest.raises(UserError, match="cache=True"):
            st.Endpoint(f"{url}/scores", cache=False, kept=journal)
    with pytest.raises(UserError, match="another job"):
        kept(tmp_path / "answers", "another")


def test_what_rows_that_are_done_asked_is_not_paid_again(service, url, tmp_path):
    with kept(tmp_path / "answers", url) as journal:
        first = st.Endpoint(f"{url}/scores", kept=journal)
        first(X[:8])
        first.memory.settle()
        first(X[8:])
    with kept(tmp_path / "answers", url) as journal:
        second = st.Endpoint(f"{url}/scores", budget=12, kept=journal)
        assert second.left == 4
        second(X)
        assert second.cost.tolist() == [0] * 8 + [1] * 4
        assert second.left == 0


def test_a_question_under_way_counts_though_nobody_heard_of_it(service, url, tmp_path, monkeypatch):
    """As if the process had been killed between the question and its answer, or had been refused."""
    service.plan = ["answer", "limit without a word"]
    with kept(tmp_path / "answers", url) as journal:
        model = st.Endpoint(f"{url}/scores", kept=journal)
        model(X[:5])
        model(X[5:7])
        assert (model.asked, model.unsure) == (7, 0)
        with monkeypatch.context() as patch:
            patch.setattr(model.memory, "heard", lambda answers: None)
            model(X[7:])
    with kept(tmp_path / "answers", url) as journal:
        second = st.Endpoint(f"{url}/scores", kept=journal)
        assert (second.asked, second.unsure) == (12, 5)
        second(X[:7])
        assert service.inputs == 12


# ---- a service that is ill


@pytest.mark.parametrize(
    ("plan", "unsure", "asked"),
    [
        (["fail"], 12, 24),
        (["fail", "fail", "fail"], 36, 48),
        (["limit"], 0, 12),
        (["limit without a word", "limit without a word"], 0, 12),
        (["slow"], 12, 24),
        (["drip"], 12, 24),
    ],
)
def test_what_passes_is_asked_again_and_counted(service, url, plan, unsure, asked):
    service.plan = list(plan)
    model = st.Endpoint(f"{url}/scores", timeout=0.5)
    start = time.monotonic()
    torch.testing.assert_close(model(X), OUTPUTS)
    assert (model.unsure, model.asked, service.inputs) == (unsure, asked, asked)
    assert model.cost.tolist() == [asked // 12] * 12
    assert time.monotonic() - start >= (1.0 if plan == ["limit"] else 0)
    assert ("failed" in model.spent()) == (unsure > 0)


def test_retries_are_paid_for(service, url):
    service.plan = ["fail"] * 9
    model = st.Endpoint(f"{url}/scores", budget=30)
    with pytest.raises(BudgetSpent, match="it failed \\(500\\): 'Traceback: out of memory'"):
        model(X)
    assert (model.asked, service.inputs) == (24, 24)
    assert model.left == 6


@pytest.mark.parametrize(
    ("plan", "words"),
    [(["fail"] * 9, "asked 4 times"), (["limit for an hour"], "asks to wait 3600 s"), (["slow"] * 9, "within 0.1 s")],
)
def test_what_does_not_pass_is_gone(service, url, plan, words):
    service.plan = list(plan)
    with pytest.raises(Gone, match=words):
        st.Endpoint(f"{url}/scores", timeout=0.1)(X)


@pytest.mark.parametrize(
    ("word", "words"),
    [
        ("redirect", "redirects to 'http://127.0.0.1:9/elsewhere', which is not followed"),
        ("reject", "refused the question \\(422\\): .*field required"),
        ("huge", "more than 1000000 bytes"),
        ("say <html>", "no JSON"),
        ("say " + "[" * 100_000, "no JSON"),
        ("say {}", "no field 'scores'"),
        ('say {"labels": [1]}', "--outputs labels"),
        ('say {"a": {"of": [[1, 2]], "by": "us"}}', "parse='a.of' \\(--answer\\)"),
        ('say {"results": [{"score": [1, 2]}]}', "parse='results.\\*.score'"),
        ('say {"error": "no model"}', "it has 'error'. It holds no numbers"),
        ('say {"score": [1, 2]}', "it has 'score'"),
        ("say null", "where numbers are needed"),
        ('say {"scores": "many"}', "where numbers are needed"),
        ('say {"scores": [[1, 2], [3]]}', "unequal length"),
        ('say {"scores": [[1, 2]]}', "shape \\(1, 2\\) for 12 inputs"),
        ('say {"scores": ' + json.dumps([[1.0]] * 12) + "}", "at least two classes"),
        ('say {"scores": ' + json.dumps([1] * 12) + "}", "outputs='labels'"),
        ('say {"scores": ' + json.dumps([[1, None]] * 12) + "}", "where numbers are needed"),
        ('say {"scores": ' + json.dumps([[1, math.nan]] * 12) + "}", "NaN, infinity"),
        ('say {"scores": ' + json.dumps(["a cat"] * 12) + "}", "outputs='labels'"),
        ('say {"scores": ' + json.dumps([[1e300, 2]] * 12) + "}", "beyond 3e38"),
    ],
)
def test_odd_answers_are_mistakes_and_not_asked_again(service, url, word, words):
    service.plan = [word]
    with pytest.raises(UserError, match=words):
        st.Endpoint(f"{url}/scores", largest=1_000_000)(X)
    assert service.requests == 1


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (["12"] * 12, "class 12"),
        (["a cat"] * 12, r"'a cat', which is none of the 10 classes: classes=\[names\]"),
        ([12] * 12, "class 12"),
        ([-1] * 12, "class -1"),
        ([0.5] * 12, "no class numbers"),
        ([[1, 2]] * 12, "scores"),
    ],
)
def test_odd_labels(service, url, answer, words):
    service.plan = ["say " + json.dumps(answer)]
    with pytest.raises(UserError, match=words):
        st.Endpoint(f"{url}/labels", outputs="labels", classes=10)(X)


def test_classes_do_not_change_on_the_way(service, url):
    model = st.Endpoint(f"{url}/scores")
    model(X)
    service.plan = ["say [[1, 2, 3]]"]
    with pytest.raises(UserError, match="3 classes, not of 10"):
        model(X[:1] * 0.5)
    service.plan = ["say [[0.5, 0.9]]"]
    with pytest.raises(UserError, match="no probabilities: .* sums to 1.4. Any numbers"):
        st.Endpoint(f"{url}/probabilities", outputs="probabilities")(X[:1])


def test_the_pace_is_kept(service, url):
    model = st.Endpoint(f"{url}/scores", rate=20, batch=1)
    model(X[:8])
    assert service.times[-1] - service.times[0] >= 7 / 20 * 0.95
    assert min(np.diff(service.times)) > 0.03


def test_a_question_that_breaks_off_leaves_what_was_answered(service, url):
    service.plan = ["answer", "answer"] + ["fail"] * 9
    with pytest.raises(Gone) as caught:
        st.Endpoint(f"{url}/scores", batch=5)(X)
    assert torch.isfinite(caught.value.outputs[:10]).all()
    assert caught.value.outputs[10:].isnan().all()


def test_a_service_that_falls_ill_ends_the_attack_with_what_it_has(service, url):
    service.plan = ["answer"] * 8 + ["fail"] * 99
    model = st.Endpoint(f"{url}/scores")
    result = st.Square(queries=1000)(model, X, GOAL, st.Linf(0.05), 1)
    assert service.inputs == model.asked == int(result.forwards.sum())
    with torch.no_grad():
        assert torch.equal(result.success, GOAL.success(NET(result.x_adv)))


def test_a_service_that_dies_ends_the_attack_with_what_it_has(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = tmp_path / "log"
    command = [sys.executable, services.__file__, str(port), "6", str(log)]
    job = subprocess.Popen(command, cwd=Path(services.__file__).parents[1])
    try:
        for _ in range(300):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.1)
        model = st.Endpoint(f"http://127.0.0.1:{port}/scores", retries=1)
        result = st.Square(queries=1000)(model, X, GOAL, st.Linf(0.05), 1)
        assert job.wait(10) == 1
    finally:
        job.kill()
    assert model.asked == sum(map(int, log.read_text().split())) == int(result.forwards.sum())
    assert 0 < model.unsure <= 12
    with torch.no_grad():
        assert torch.equal(result.success, GOAL.success(NET(result.x_adv)))
    with pytest.raises(Gone, match="cannot be reached"):
        model(X * 0.5)


# ---- mistakes before any question


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"url": "127.0.0.1:80"}, "http://HOST:PORT"),
        ({"url": "file:///etc/passwd"}, "http://HOST:PORT"),
        ({"outputs": "logits"}, "outputs is 'logits'"),
        ({"outputs": "labels"}, "classes=10"),
        ({"budget": 0}, "budget is 0"),
        ({"rate": 0}, "rate is 0"),
        ({"timeout": -1}, "timeout is -1"),
        ({"retries": -1}, "retries is -1"),
        ({"batch": 0}, "batch is 0"),
    ],
)
def test_mistakes(options, words):
    with pytest.raises(UserError, match=words):
        st.Endpoint(**{"url": "http://127.0.0.1:9/predict", **options})


def test_places_in_answers():
    answer = {"outputs": [{"data": [1, 2]}, {"data": [3, 4]}]}
    assert find(answer, "outputs.1.data") == [3, 4]
    assert find(answer, "outputs.*.data") == [[1, 2], [3, 4]]
    assert find(answer, "") is answer
    for wrong in ("output", "outputs.2", "outputs.0.data.0.x"):
        with pytest.raises(UserError, match="has no place"):
            find(answer, wrong)


def test_words_for_waiting():
    assert retry_after({"retry-after": "7"}) == 7
    assert retry_after({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}) == 0
    assert retry_after({"retry-after": "soon"}) is None
    assert retry_after({}) is None


def test_an_endpoint_is_not_prepared(service, url):
    assert st.prepare(st.Endpoint(f"{url}/scores"), X).notes == ("used as given: it is asked over a wire",)
    assert service.requests == 0
