import xml.etree.ElementTree as ET

from struthio.audit import summarise
from struthio.report import junit

TWO = {"linf:0.1": "Linf(eps=0.1)", "l2:1": "L2(eps=1.0)"}


def read(found, at_least=None):
    return ET.fromstring(junit.document(found, at_least))


def test_one_case_a_threat_with_its_seconds(made):
    suites = read(summarise(made()))
    (case,) = suites.iter("testcase")
    assert (case.get("name"), case.get("classname"), case.get("time")) == ("linf:0.1", "net.py:build", "75.500")
    assert suites.get("tests") == "1"
    assert suites.get("failures") == "0"
    assert case.find("failure") is None
    out = case.findtext("system-out")
    assert "robust accuracy is at most 50.0 % (5 of 10, 95 % interval 18.7 % to 81.3 %)" in out
    assert "no doubts" in out


def test_a_missed_gate_is_a_failure_exactly_below_the_lower_limit(made):
    found = summarise(made())
    low = found.at_most.low
    assert read(found, low).find(".//failure") is None
    assert "18.7 %" in read(found, low + 1e-6).find(".//failure").get("message")


def test_several_threats_have_a_case_together(made):
    found = summarise(made(job={"threats": TWO}, fell={"linf:0.1": (), "l2:1": (1, 2, 3, 4, 5)}))
    suites = read(found, 0.3)
    cases = {case.get("name"): case.find("failure") is not None for case in suites.iter("testcase")}
    assert cases == {"linf:0.1": False, "l2:1": True, junit.TOGETHER: True}
    assert suites.get("failures") == "2"
    assert suites.get("tests") == "3"


def test_doubts_and_errors_are_in_the_output(made, doubted):
    out = read(summarise(made(plan=doubted))).findtext(".//system-out")
    assert "doubt zero-gradient: The gradient is zero although" in out
    assert "row 9: the model raised ValueError" in out


def test_whatever_a_text_holds_the_file_can_be_read(made, hostile):
    job, plan = hostile
    suites = read(summarise(made(job=job, plan=plan)), 0.9)
    assert suites.find(".//testcase").get("name").startswith("<script>alert(1)</script>?")
