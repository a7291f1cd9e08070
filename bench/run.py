"""Every attack on every network by every tool: `python -m bench.run -o bench/results` (`--help` for a part, or a GPU).

All tools share one process and take turns, so that whatever else the machine does falls on all alike; the least time
of each counts.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import warnings
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import Progress, TaskID

from bench import floor, ours, peers, table
from bench.jobs import STEPS, Job, Tool, job
from bench.machine import facts
from bench.measure import counted, once, won
from bench.nets import CASES, Case, moved

ROWS = {"digits": 100, "cifar": 32, "imagenet": 2}
TURNS = 3  # of each tool, at least
ENOUGH = 2.0  # seconds of the floor's turns together: short turns need many for the least of them to be undisturbed
MOST = 60  # turns


def tools(task: Job) -> dict[str, Tool]:
    """All that can do this job, each with a copy of the network of its own."""

    def own() -> Job:
        return Job(**{**vars(task), "model": copy.deepcopy(task.model)})

    found = {"floor": floor.prepare(own())}
    for name in peers.installed():
        tool = peers.prepare(name, own())
        if tool is not None:
            found[name] = tool
    for way in ours.ways(task):
        found[way] = ours.prepare(way, own())
    return found


def measure(case: Case, task: Job, turns: int, progress: Progress, step: TaskID) -> dict[str, dict[str, float]]:
    """A line for each tool: seconds (least, most, before the verdict), success in [0, 1], passes a row.

    One turn is one turn; more are at least so many, and as many as the floor needs to take `ENOUGH` seconds.
    """
    ready = tools(task)
    if turns > 1:
        turns = max(turns, min(MOST, math.ceil(ENOUGH / once(ready["floor"], task)[1])))
    progress.update(step, total=len(ready) * (turns + 1), completed=0)
    lines = {}
    for name, tool in ready.items():
        progress.update(step, description=f"{case.name}, {task.attack}, {name}: counting", advance=1)
        x_adv, passes = counted(tool, len(task.x))
        lines[name] = {"success": float(won(task, x_adv).float().mean()), **vars(passes)}
    for turn in range(turns):
        for name, tool in ready.items():
            progress.update(step, description=f"{case.name}, {task.attack}, {name}: turn {turn + 1}", advance=1)
            found, judged = once(tool, task)
            line = lines[name]
            line["seconds"] = min(judged, line.get("seconds", judged))
            line["slowest"] = max(judged, line.get("slowest", judged))
            line["unjudged"] = min(found, line.get("unjudged", found))
    for line in lines.values():
        line["ratio"] = line["seconds"] / lines["floor"]["seconds"]
        line["unjudged_ratio"] = line["unjudged"] / lines["floor"]["unjudged"]
    return lines


def chosen(only: list[str] | None) -> list[tuple[str, str]]:
    """The (case, attack) pairs whose `case/attack` contains one of these texts; all without any."""
    pairs = [(case, attack) for case in CASES for attack in STEPS]
    return [pair for pair in pairs if not only or any(text in "/".join(pair) for text in only)]


def kept(path: Path, terms: dict) -> dict[str, dict]:
    """The rows of an earlier run on the same terms, by case/attack: `--only` renews some of them."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    if any(earlier.get(name) != value for name, value in terms.items()):
        return {}
    keys = dict(zip(("digits CNN", "ResNet-20", "EfficientNet-Lite0"), CASES, strict=True))
    return {f"{keys[row['case']]}/{row['attack']}": row for row in earlier["rows"]}


def main() -> None:
    """Measure, and write attacks.md and attacks.json as each row is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--quick", action="store_true", help="few rows, at most 5 steps, one turn: does everything run?"
    )
    parser.add_argument("--only", action="append", metavar="TEXT", help="rows whose CASE/ATTACK contains TEXT")
    parser.add_argument("--device", type=torch.device, default="cpu", help="where the networks are")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for attacks.md and attacks.json")
    wanted = parser.parse_args()
    pairs = chosen(wanted.only)
    if not pairs:
        parser.error(
            f"nothing is called {' or '.join(wanted.only)}: cases are {', '.join(CASES)}; attacks {', '.join(STEPS)}"
        )
    wanted.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    cases: dict[str, Case] = {}
    terms = {"machine": facts(wanted.device), "quick": wanted.quick}
    rows = kept(wanted.output / "attacks.json", terms)
    with Progress(console=Console(stderr=True)) as progress:
        overall, step = progress.add_task("all", total=len(pairs)), progress.add_task("")
        for name, attack in pairs:
            if name not in cases:
                cases[name] = moved(CASES[name](min(4, ROWS[name]) if wanted.quick else ROWS[name]), wanted.device)
            case = cases[name]
            eps = case.eps["l2" if attack.endswith("l2") else "linf"]
            steps = min(5, STEPS[attack]) if wanted.quick else STEPS[attack]
            task = job(attack, case.model, case.x, case.y, eps, steps)
            lines = measure(case, task, 1 if wanted.quick else TURNS, progress, step)
            rows[f"{name}/{attack}"] = {
                "case": case.name, "note": case.note, "rows": len(case.x), "attack": attack, "eps": eps,
                "steps": steps, "clock": table.CLOCKS[wanted.device.type == "cpu"], "tools": lines,
            }  # fmt: skip
            ordered = [rows[key] for key in map("/".join, chosen(None)) if key in rows]
            everything = {**terms, "rows": ordered}
            (wanted.output / "attacks.json").write_text(json.dumps(everything, indent=1) + "\n")
            (wanted.output / "attacks.md").write_text(table.markdown(everything))
            progress.advance(overall)
    print(table.markdown(everything))


if __name__ == "__main__":
    main()
