"""What each level of the audit leaves, beside AutoAttack as published: `python -m bench.audit -o bench/results`.

`--case cifar-robust --weights FILE.safetensors` takes a network that a recipe made: see `bench.nets.cifar_robust`.

All levels get the same rows, one level after another; forwards and backwards are counted, and so are the seconds that
the process itself computed, so that neither hangs on what else the machine does. Certificates are left out on all
sides. A level that was measured before, on as many rows of the same network, is kept where it is not asked for again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress

import struthio as st
from bench.machine import facts
from bench.nets import Case, cifar, cifar_robust, digits_cnn, digits_robust, imagenet
from struthio.attacks.suites import LEVELS
from struthio.audit import Store
from struthio.audit.findings import joined

CASES: dict[str, tuple[Callable[[int], Case], str, int]] = {  # the network, the threat, its rows
    "digits-robust": (digits_robust, "linf:0.3", 500),
    "digits": (digits_cnn, "linf:0.05", 500),
    "cifar": (cifar, "linf:0.5/255", 100),
    "imagenet-0.5": (imagenet, "linf:0.5/255", 500),
    "imagenet-1": (imagenet, "linf:1/255", 500),
}
GIVEN = {"cifar-robust": (cifar_robust, "linf:8/255", 500)}  # with weights by hand


def enter(case: Case, threat: str, level: str) -> dict[str, Any]:
    """One level on one network: a line of figures, and which rows fell."""
    start, computed = time.perf_counter(), time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        data = (case.x, case.y)
        verdict = st.audit(case.model, data, threat, level=level, certify="none", folder=folder).verdict
        with Store.read(folder) as store:
            found = joined(list(store.findings(threat)))
    return {
        "level": level,
        "left": verdict.count.held,
        "rows": verdict.count.rows,
        "forwards": verdict.forwards / verdict.count.rows,
        "backwards": verdict.backwards / verdict.count.rows,
        "seconds": time.perf_counter() - start,
        "computed": time.process_time() - computed,
        "wins": verdict.wins,
        "doubts": [doubt.name for doubt in verdict.doubts],
        "fell": " ".join(str(row) for row in found.ids[found.fell].tolist()),
    }


def contest(
    name: str, rows: int | None, levels: list[str], weights: str, before: dict[str, Any], progress: Progress
) -> dict[str, Any]:
    """The levels asked for on one network, beside those of it that were measured before."""
    if name in GIVEN:
        given, threat, usual = GIVEN[name]
        case = given(rows or usual, weights)
    else:
        make, threat, usual = CASES[name]
        case = make(rows or usual)
    found = {"network": case.name, "note": case.note, "threat": threat}
    lines = {line["level"]: line for line in before.get("lines", ()) if line["rows"] == len(case.x)}
    for level in progress.track(levels, description=name):
        lines[level] = enter(case, threat, level)
    return {**found, "lines": [lines[level] for level in LEVELS if level in lines]}


def page(results: dict[str, Any]) -> str:
    """The tables, in Markdown."""
    text = [
        "# What each level of the audit leaves",
        "",
        "Written by `python -m bench.audit -o bench/results`. **left**: rows that nothing brought down. **passes**:",
        "forwards and backwards a row, the examination of the model aside. **s**: seconds that the process computed,",
        "on one thread. **here / there only**: rows that fell to this level and not to AutoAttack, and the other way",
        "round.",
        "",
    ]
    for found in results["cases"].values():
        reference = next((line for line in found["lines"] if line["level"] == "standard-aa"), None)
        text += [f"## {found['network']}, {found['threat']}", "", f"{found['note']}.", ""]
        text += ["| level | left | passes | times fewer | s | times faster | here only | there only | doubts |"]
        text += ["|---|--:|--:|--:|--:|--:|--:|--:|---|"]
        for line in found["lines"]:
            passes = line["forwards"] + line["backwards"]
            fewer = "" if reference is None else f"{(reference['forwards'] + reference['backwards']) / passes:.1f}"
            faster = "" if reference is None else f"{reference['computed'] / line['computed']:.1f}"
            fell, there = (set(one["fell"].split()) for one in (line, reference or line))
            only = " | " if reference is None else f"{len(fell - there)} | {len(there - fell)}"
            cells = [
                line["level"], f"{line['left']} of {line['rows']}", f"{passes:.0f}", fewer, f"{line['computed']:.0f}",
                faster, only, ", ".join(line["doubts"]) or "none",
            ]  # fmt: skip
            text += ["| " + " | ".join(cells) + " |"]
        text += [""]
    machine = ", ".join(f"{name} {value}" for name, value in results["machine"].items())
    return "\n".join([*text, f"Measured on: {machine}.", ""])


def main() -> None:
    """Run the contests and write the results; other networks measured before are kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", choices=[*CASES, *GIVEN], action="append", help="one network; all without")
    parser.add_argument("--weights", default="", help="of the network, for cifar-robust")
    parser.add_argument("--level", choices=LEVELS, action="append", help="one level; all without")
    parser.add_argument("--rows", type=int)
    parser.add_argument("-o", "--output", type=Path, required=True)
    wanted = parser.parse_args()
    if set(wanted.case or ()) & set(GIVEN) and not wanted.weights:
        parser.error("cifar-robust needs --weights FILE.safetensors, as `struthio harden cifar10-fast` writes it")
    path = wanted.output / "audit.json"
    results = json.loads(path.read_text()) if path.exists() else {"cases": {}}
    results["machine"] = facts()
    torch.manual_seed(0)
    torch.set_num_threads(1)  # what a process computes is then what it would take alone
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as progress:
        for name in wanted.case or CASES:
            before = results["cases"].get(name, {})
            levels = wanted.level or list(LEVELS)
            results["cases"][name] = contest(name, wanted.rows, levels, wanted.weights, before, progress)
            path.write_text(json.dumps(results, indent=1) + "\n")
            (wanted.output / "audit.md").write_text(page(results))


if __name__ == "__main__":
    main()
