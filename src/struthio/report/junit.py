"""An audit as JUnit XML, which build servers read: one test case a threat."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET

from struthio.audit.summary import Audit
from struthio.audit.verdict import Verdict
from struthio.shares import Share, percent

FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0
TOGETHER = "all threats together"


def document(found: Audit, at_least: float | None = None) -> str:
    """The text of a JUnit file.

    A case fails where the lower 95 % limit of robust accuracy is below the gate; doubts are in its output.

    Args:
        found: the audit.
        at_least: the gate, a share; without one no case fails.
    """
    cases = [_case(found, text, verdict.at_most, at_least, verdict) for text, verdict in found.threats.items()]
    if found.worst is not None:
        cases.append(_case(found, TOGETHER, found.at_most, at_least, None))
    counts = {
        "tests": str(len(cases)), "failures": str(sum(case.find("failure") is not None for case in cases)),
        "errors": "0", "skipped": "0",
        "time": f"{sum(verdict.seconds for verdict in found.threats.values()):.3f}",
    }  # fmt: skip
    suites = ET.Element("testsuites", {"name": "struthio audit", **counts})
    suite = ET.SubElement(suites, "testsuite", {"name": _clean(f"struthio audit {found.job['model']}"), **counts})
    suite.extend(cases)
    ET.indent(suites)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(suites, encoding="unicode")


def _case(found: Audit, text: str, share: Share, at_least: float | None, verdict: Verdict | None) -> ET.Element:
    seconds = 0.0 if verdict is None else verdict.seconds
    case = ET.Element("testcase", classname=_clean(found.job["model"]), name=_clean(text), time=f"{seconds:.3f}")
    if said := share.shortfall(at_least):
        failure = ET.SubElement(case, "failure", message=said, type="BelowGate")
        failure.text = _interval("robust accuracy is at most", share)
    out = ET.SubElement(case, "system-out")
    out.text = _clean("\n".join([_interval("robust accuracy is at most", share), *_details(verdict)]))
    return case


def _details(verdict: Verdict | None) -> list[str]:
    """The other figures, the doubts, and the rows on which the model failed."""
    if verdict is None:
        return []
    lines = [
        _interval("robust accuracy is at least", verdict.at_least),
        _interval("clean accuracy is", verdict.clean),
        "" if verdict.doubts else "no doubts were found",
    ]
    for doubt in verdict.doubts:
        lines.append(f"doubt {doubt.name}: {doubt.title}. {doubt.evidence} {doubt.remedy or 'Nothing was done.'}")
    return lines + [f"row {row}: the model raised {what}" for row, what in verdict.errors.items()]


def _interval(what: str, share: Share) -> str:
    limits = f"{percent(share.low)} to {percent(share.high)}"
    return f"{what} {percent(share.share)} ({share.count} of {share.of}, 95 % interval {limits})"


def _clean(text: str) -> str:
    """Without what no XML file may hold, not even escaped."""
    return FORBIDDEN.sub("?", text)
