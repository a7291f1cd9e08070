"""The smallest changes beside the peers: `python -m bench.smallest [--case digits] [--norm L2] -o bench/results`.

`--case cifar-robust --weights FILE.safetensors` takes a network that a recipe made: see `bench.nets.cifar_robust`.

Every tool gets the same rows and the same steps. Beside seconds, success and the median size stands the optimality of
AttackBench (Cina et al., 2025, arXiv 2404.19460): how much of the area between "no row falls" and the best of all tools
together a tool's curve of success against size covers; 1 is as good as all of them together. The size of every row is
kept, so that a tool which is measured later is compared with those before it on as many rows and steps.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from bench.contests import Contest, contests
from bench.jobs import Tool
from bench.machine import facts
from bench.measure import answers, counted
from bench.nets import Case, cifar, cifar_robust, digits_cnn, digits_robust

CASES: dict[str, tuple[Callable[[int], Case], int, int]] = {  # the network, its rows, its steps
    "digits": (digits_cnn, 50, 999),
    "digits-robust": (digits_robust, 50, 999),
    "cifar": (cifar, 16, 198),
}
GIVEN = {"cifar-robust": (cifar_robust, 8, 999)}  # with weights by hand
NAMES = {0.0: "L0", 1.0: "L1", 2.0: "L2", math.inf: "Linf"}


def sizes(case: Case, x_adv: Tensor, p: float) -> Tensor:
    """The size of each row's change, [n]; infinite where the row is not won, or leaves [0, 1]."""
    change = torch.linalg.vector_norm((x_adv - case.x).flatten(1), ord=p, dim=1)
    pixels = (x_adv.flatten(1).amin(1) >= -1e-6) & (x_adv.flatten(1).amax(1) <= 1 + 1e-6)
    won = (answers(case.model, x_adv) != case.y) & pixels
    return change.masked_fill(~won, math.inf)


def enter(case: Case, contest: Contest, name: str) -> dict[str, Any]:
    """One tool in one contest: a line of figures, and the sizes it reached, a row each (null: not won)."""
    find = contest.tools[name]
    gc.collect()
    start = time.perf_counter()
    try:
        x_adv, passes = counted(Tool(lambda: (find(case.model, case.x, case.y), None), (case.model,)), len(case.x))
    except Exception as error:  # a peer that breaks is a result too
        return {"broke": f"{type(error).__name__}: {error}"[:120]}
    seconds = time.perf_counter() - start
    reached = sizes(case, x_adv.to(case.x.dtype), contest.p)
    return {
        "seconds": seconds,
        "success": float(reached.isfinite().float().mean()),
        "median": float(reached.median()),
        **vars(passes),
        "sizes": [round(size, 6) if math.isfinite(size) else None for size in reached.tolist()],
    }


def optimality(reached: dict[str, Tensor]) -> dict[str, float]:
    """By tool, 1 less the share of the area that its curve leaves above that of the best of all, on sizes [n] each."""
    best = torch.stack(list(reached.values())).amin(0)
    most = float(best[best.isfinite()].max()) if bool(best.isfinite().any()) else 1.0
    area = {name: float((1 - size.clamp(max=most) / most).sum()) for name, size in reached.items()}
    full = float((1 - best.clamp(max=most) / most).sum())
    return {name: value / full if full else 1.0 for name, value in area.items()}


def compared(contests: list[dict[str, Any]], norm: str) -> dict[str, float]:
    """The optimality of every tool that was measured in a norm."""
    reached = {
        f"{contest['attack']}, {tool}": torch.tensor([math.inf if size is None else size for size in line["sizes"]])
        for contest in contests
        for tool, line in contest["tools"].items()
        if contest["norm"] == norm and "sizes" in line
    }
    return optimality(reached) if reached else {}


def measure(
    case: Case, steps: int, chosen: list[Contest], before: dict[str, Any], progress: Progress
) -> Iterator[dict[str, Any]]:
    """After each contest all of one network, with what was measured before on as many rows and steps."""
    section = {"case": case.name, "note": case.note, "rows": len(case.x), "steps": steps}
    if {name: before.get(name) for name in section} != section:
        before = {"contests": []}
    lines = {(old["attack"], old["norm"]): dict(old["tools"]) for old in before["contests"]}
    bar = progress.add_task(case.name, total=sum(len(contest.tools) for contest in chosen))
    for contest in chosen:
        for tool in contest.tools:
            progress.update(bar, description=f"{case.name}, {contest.attack} {NAMES[contest.p]}, {tool}")
            lines.setdefault((contest.attack, NAMES[contest.p]), {})[tool] = enter(case, contest, tool)
            progress.advance(bar)
        found = [{"attack": attack, "norm": norm, "tools": tools} for (attack, norm), tools in lines.items()]
        yield {**section, "contests": found, "optimality": {norm: compared(found, norm) for norm in NAMES.values()}}


def main() -> None:
    """Measure, and write smallest.md and smallest.json as each contest is done."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", action="append", choices=[*CASES, *GIVEN], help="which networks; all without any")
    parser.add_argument("--weights", default="", help="of the network, for cifar-robust")
    parser.add_argument("--norm", action="append", choices=list(NAMES.values()), help="which norms; all without any")
    parser.add_argument("--only", action="append", metavar="TEXT", help="contests whose name contains TEXT")
    parser.add_argument("--without", action="append", default=[], metavar="TOOL", help="a tool that is left out")
    parser.add_argument("--steps", type=int, help="instead of each network's own")
    parser.add_argument("--rows", type=int, help="instead of each network's own")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for smallest.md and smallest.json")
    wanted = parser.parse_args()
    if set(wanted.case or ()) & set(GIVEN) and not wanted.weights:
        parser.error("cifar-robust needs --weights FILE.safetensors, as `struthio harden cifar10-fast` writes it")
    wanted.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    path = wanted.output / "smallest.json"
    before = json.loads(path.read_text())["cases"] if path.exists() else []
    results = {section["case"]: section for section in before}
    with Progress(console=Console(stderr=True)) as progress:
        for name in wanted.case or CASES:
            case, steps = _case(name, wanted)
            chosen = [contest for contest in _without(wanted.without, contests(steps)) if _asked_for(contest, wanted)]
            for section in measure(case, steps, chosen, results.get(case.name, {}), progress):
                results[case.name] = section
                _write(wanted.output, {"machine": facts(), "cases": list(results.values())})
    print((wanted.output / "smallest.md").read_text())


def _case(name: str, wanted: argparse.Namespace) -> tuple[Case, int]:
    """The network with its rows, and the steps."""
    if name in GIVEN:
        given, rows, steps = GIVEN[name]
        return given(wanted.rows or rows, wanted.weights), wanted.steps or steps
    make, rows, steps = CASES[name]
    return make(wanted.rows or rows), wanted.steps or steps


def _asked_for(contest: Contest, wanted: argparse.Namespace) -> bool:
    named = not wanted.only or any(text in contest.attack for text in wanted.only)
    return named and (not wanted.norm or NAMES[contest.p] in wanted.norm)


def _without(left_out: list[str], found: list[Contest]) -> list[Contest]:
    """The contests without some of the tools."""
    return [
        replace(contest, tools={name: find for name, find in contest.tools.items() if name not in left_out})
        for contest in found
    ]


def _write(folder: Path, everything: dict[str, Any]) -> None:
    (folder / "smallest.json").write_text(json.dumps(everything, indent=1) + "\n")
    machine = ", ".join(f"{name} {value}" for name, value in everything["machine"].items())
    text = HEAD + machine + ".\n" + "".join(_section(case) for case in everything["cases"])
    (folder / "smallest.md").write_text(text)


HEAD = """# The smallest changes beside the peers

Written by `python -m bench.smallest -o bench/results`. Every tool gets the same rows (all classified correctly before)
and the same steps, all rows in one batch, no radius. Attacks that search for a constant divide the steps by 9 searches;
DeepFool, FAB, JSMA and VFGA take their own number of steps.

* **median**: of the size over all rows, a row that is not won counting as infinite; one judge for all.
* **seconds**: one run, the first; small differences mean nothing.
* **optimality** (AttackBench, arXiv 2404.19460): the share of the area under the success-against-size curve of the best
  of all tools together, row by row.

"""


def _section(case: dict[str, Any]) -> str:
    text = f"\n## {case['case']}: {case['rows']} rows, {case['steps']} steps\n\n{case['note']}.\n\n"
    text += "| attack | norm | tool | median | success | seconds | forwards | backwards |\n"
    text += "| --- | --- | --- | --: | --: | --: | --: | --: |\n"
    for contest in case["contests"]:
        for tool, line in contest["tools"].items():
            start = f"| {contest['attack']} | {contest['norm']} | {tool} |"
            if "broke" in line:
                text += f"{start} broke: {line['broke']} | | | | |\n"
                continue
            text += (
                f"{start} {line['median']:.4g} | {line['success']:.0%} | {line['seconds']:.2f} "
                f"| {line['forwards']:.0f} | {line['backwards']:.0f} |\n"
            )
    for norm, found in case.get("optimality", {}).items():
        if not found:
            continue
        best = sorted(found.items(), key=lambda item: -item[1])
        text += f"\nOptimality in {norm}: " + "; ".join(f"{name} {value:.3f}" for name, value in best) + ".\n"
    return text


if __name__ == "__main__":
    main()
