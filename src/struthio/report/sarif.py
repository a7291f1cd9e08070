"""An audit as SARIF 2.1.0, which code hosts show beside the code: each doubt and a missed gate is a result."""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath
from typing import Any

from struthio._version import __version__
from struthio.audit.doubts import KINDS
from struthio.audit.summary import Audit

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
BELOW, FAILED = "below-gate", "model-error"
RULES: dict[str, tuple[str, str, str]] = {  # title, meaning, level
    **{name: (title, meaning, "warning") for name, (title, meaning) in KINDS.items()},
    BELOW: (
        "Robust accuracy may be below the gate",
        "The lower end of the 95 % interval of robust accuracy, as far as attacks could tell, is below the share that "
        "was asked for.",
        "error",
    ),
    FAILED: (
        "The model raises an error on some rows",
        "They count as fallen; whatever sends such an input stops the model.",
        "warning",
    ),
}


def document(found: Audit, at_least: float | None = None) -> dict[str, Any]:
    """The audit as a SARIF log, ready for JSON.

    Args:
        found: the audit.
        at_least: the gate, a share; None where there is none.
    """
    results = []
    for text, verdict in found.threats.items():
        for doubt in verdict.doubts:
            said = f"{text}: {doubt.evidence} {doubt.remedy or 'Nothing was done about it.'}"
            results.append(_result(found, doubt.name, text, said))
        if verdict.errors:
            row, what = next(iter(verdict.errors.items()))
            said = f"{text}: the model failed on {len(verdict.errors)} rows; row {row}: {what}"
            results.append(_result(found, FAILED, text, said))
    if found.threats and (missed := found.at_most.shortfall(at_least)):
        results.append(_result(found, BELOW, " ".join(sorted(found.threats)), f"{missed[0].upper()}{missed[1:]}."))
    driver = {"name": "struthio", "version": __version__, "rules": [_rule(name) for name in RULES]}
    run = {
        "tool": {"driver": driver},
        "automationDetails": {"id": f"struthio-audit/{found.job['model']}"},
        "columnKind": "unicodeCodePoints",
        "results": results,
    }
    return {"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}


def _rule(name: str) -> dict[str, Any]:
    title, meaning, level = RULES[name]
    return {
        "id": name,
        "shortDescription": {"text": f"{title}."},
        "fullDescription": {"text": meaning},
        "defaultConfiguration": {"level": level},
        "properties": {"tags": ["robustness"]},
    }


def _result(found: Audit, rule: str, threats: str, text: str) -> dict[str, Any]:
    model = str(found.job["model"])
    same = hashlib.sha256("\n".join((rule, model, str(found.job["data"]), threats)).encode()).hexdigest()[:16]
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": RULES[rule][2],
        "message": {"text": text},
        "locations": [
            {
                "physicalLocation": {"artifactLocation": {"uri": _file(model)}, "region": {"startLine": 1}},
                "logicalLocations": [{"fullyQualifiedName": model, "kind": "module"}],
            }
        ],
        "partialFingerprints": {"struthioAudit/v1": same},
    }


def _file(model: str) -> str:
    """The file that holds the model, where its text names one in this folder; else the page of the audit."""
    path = PurePosixPath(model.partition(":")[0])
    ours = path.suffix in (".py", ".onnx", ".pt2") and not path.is_absolute() and ".." not in path.parts
    return str(path) if ours and re.fullmatch(r"[\w./-]+", str(path), re.ASCII) else "report.html"
