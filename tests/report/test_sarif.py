import json

from struthio.audit import summarise
from struthio.audit.doubts import KINDS
from struthio.report import sarif


def only_run(found, at_least=None):
    log = json.loads(json.dumps(sarif.document(found, at_least), allow_nan=False))
    assert set(log) == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    assert log["$schema"].endswith("sarif-schema-2.1.0.json")
    (run,) = log["runs"]
    return run


def check_results(run):
    """What SARIF 2.1.0 asks of a result, and what code hosts ask besides: a rule, a level, a text, a place."""
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    assert len(set(rules)) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]] == result["ruleId"]
        assert result["level"] in ("none", "note", "warning", "error")
        assert result["message"]["text"]
        (place,) = result["locations"]
        uri = place["physicalLocation"]["artifactLocation"]["uri"]
        assert uri
        assert " " not in uri
        assert not uri.startswith("/")
        assert place["physicalLocation"]["region"]["startLine"] >= 1
        assert result["partialFingerprints"]


def test_every_kind_of_doubt_is_a_rule(made):
    driver = only_run(summarise(made()))["tool"]["driver"]
    assert driver["name"] == "struthio"
    assert driver["version"]
    assert [rule["id"] for rule in driver["rules"]] == [*KINDS, sarif.BELOW, sarif.FAILED]
    for rule in driver["rules"]:
        assert rule["shortDescription"]["text"]
        assert rule["fullDescription"]["text"]


def test_nothing_to_say_is_no_result(made):
    assert only_run(summarise(made()), 0.1)["results"] == []


def test_doubts_errors_and_a_missed_gate_are_results(made, doubted):
    run = only_run(summarise(made(plan=doubted)), 0.4)
    check_results(run)
    found = {result["ruleId"]: result for result in run["results"]}
    assert set(found) == {"zero-gradient", sarif.FAILED, sarif.BELOW}
    assert found[sarif.BELOW]["level"] == "error"
    assert "18.7 %" in found[sarif.BELOW]["message"]["text"]
    assert "linf:0.1" in found["zero-gradient"]["message"]["text"]
    place = found["zero-gradient"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "net.py"


def test_a_result_keeps_its_fingerprint_from_run_to_run(made, doubted):
    def prints(store):
        return [result["partialFingerprints"] for result in only_run(summarise(store), 0.4)["results"]]

    same = prints(made(plan=doubted))
    again = {**doubted, "doubts": [{**doubted["doubts"][0], "evidence": "Another number."}]}
    assert prints(made(plan=again)) == same
    assert len({str(one) for one in same}) == 3
    assert prints(made(plan=doubted, job={"model": "other.py:build"})) != same


def test_models_that_are_no_files_are_found_at_the_page(made, doubted, hostile):
    for model in ("zoo:digits-cnn", "/etc/net.py:build", "../net.py:build", "my net.py:build"):
        run = only_run(summarise(made(plan=doubted, job={"model": model})), 0.4)
        check_results(run)
        assert run["results"][0]["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "report.html"
    check_results(only_run(summarise(made(job=hostile[0], plan=hostile[1])), 0.9))
