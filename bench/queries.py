"""The black boxes beside the peers: `python -m bench.queries [--case digits] [--only square] -o bench/results`.

Every tool gets the same rows and as many questions; those really asked are counted by a hook on the network.
"""

from __future__ import annotations

import argparse
import gc
import json
import math
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from bench.black_boxes import Contest, Trial, contests
from bench.jobs import Tool
from bench.machine import facts
from bench.measure import answers, counted
from bench.nets import Case, digits_cnn, digits_robust

CASES: dict[str, tuple[Callable[[int], Case], dict[str, float]]] = {  # and radii at which some rows hold
    "digits": (digits_cnn, {"linf": 0.12, "l2": 2.5}),
    "digits-robust": (digits_robust, {"linf": 0.35, "l2": 3.5}),
}
ROWS, SCORES, LABELS = 20, 1000, 2000
TRIES = 1000  # of noise to start from


def beginnings(case: Case) -> Tensor:
    """For each row the first noise that wins, fine or in patches, the same for every tool; x where none does."""
    generator, start = torch.Generator().manual_seed(0), case.x.clone()
    for turn in range(TRIES):
        lost = (answers(case.model, start) == case.y).nonzero().flatten()
        if not len(lost):
            break
        side, (c, h, w) = 2 ** (turn % 5), case.x.shape[1:]
        coarse = torch.rand(len(lost), c, math.ceil(h / side), math.ceil(w / side), generator=generator)
        start[lost] = coarse.repeat_interleave(side, 2)[:, :, :h].repeat_interleave(side, 3)[..., :w]
    return start


def sizes(case: Case, x_adv: Tensor, norm: str) -> Tensor:
    """The size of each row's change, [n]; infinite where the row is not won, or leaves [0, 1]."""
    change = x_adv - case.x
    if norm == "pixels":
        size = (change != 0).any(1).flatten(1).sum(1).to(change.dtype)
    else:
        size = torch.linalg.vector_norm(change.flatten(1), ord=math.inf if norm == "linf" else 2, dim=1)
    pixels = (x_adv.flatten(1).amin(1) >= -1e-6) & (x_adv.flatten(1).amax(1) <= 1 + 1e-6)
    return size.masked_fill((answers(case.model, x_adv) == case.y) | ~pixels, math.inf)


def enter(case: Case, contest: Contest, tool: str, start: Tensor) -> dict[str, Any]:
    """One tool in one contest: a line of figures."""
    eps = math.inf if contest.radius is None else case.eps.get(str(contest.radius), contest.radius)
    trial = Trial(case.model, case.x, case.y, start, float(eps), contest.queries)
    gc.collect()
    torch.manual_seed(0)
    began = time.process_time()
    x_adv, passes = counted(Tool(lambda: (contest.tools[tool](trial), None), (case.model,)), len(case.x))
    seconds = time.process_time() - began
    reached = sizes(case, x_adv.to(case.x.dtype), contest.norm)
    won = reached <= float(eps) * (1 + 1e-5) + 1e-6 if math.isfinite(eps) else reached.isfinite()
    median = float(reached.masked_fill(~won, math.inf).median())
    return {"success": float(won.float().mean()), "median": median, "seconds": seconds, "asked": passes.forwards}


def kept(path: Path) -> dict[str, dict[str, Any]]:
    """The contests of an earlier run on the same machine and versions, by name: `--only` renews some of them."""
    if not path.exists():
        return {}
    earlier = json.loads(path.read_text())
    same = earlier["machine"] == facts()
    return {f"{row['case']}/{row['name']}": row for row in earlier["contests"]} if same else {}


def main() -> None:
    """Measure, and write queries.md and queries.json as each contest is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--case", action="append", choices=list(CASES), help="which networks; all without any")
    parser.add_argument("--only", action="append", metavar="TEXT", help="contests whose CASE/ATTACK/NORM contains TEXT")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        metavar="TOOL",
        help="a tool that is left out, or ATTACK/TOOL: zoo/ART",
    )
    parser.add_argument("--rows", type=int, default=ROWS, help="of each network")
    parser.add_argument("--scores", type=int, default=SCORES, help="questions to a model that shows scores")
    parser.add_argument("--labels", type=int, default=LABELS, help="questions to a model that shows labels alone")
    parser.add_argument("-o", "--output", type=Path, required=True, help="the folder for queries.md and queries.json")
    wanted = parser.parse_args()
    every = [(case, one) for case in CASES for one in contests(wanted.scores, wanted.labels)]
    chosen = [
        (case, one)
        for case, one in every
        if case in (wanted.case or CASES)
        and (not wanted.only or any(text in f"{case}/{one.name}" for text in wanted.only))
    ]
    if not chosen:
        parser.error(f"nothing is called so; contests are {', '.join(f'{case}/{one.name}' for case, one in every)}")
    wanted.output.mkdir(parents=True, exist_ok=True)
    warnings.filterwarnings("ignore")
    rows = kept(wanted.output / "queries.json")
    made: dict[str, tuple[Case, Tensor]] = {}
    with Progress(console=Console(stderr=True)) as progress:
        bar = progress.add_task("", total=sum(len(one.tools) for _, one in chosen))
        for name, contest in chosen:
            if name not in made:
                make, radii = CASES[name]
                case = replace(make(wanted.rows), eps=radii)
                made[name] = case, beginnings(case)
            case, start = made[name]
            lines: dict[str, Any] = {}
            for tool in contest.tools:
                progress.update(bar, description=f"{case.name}, {contest.name}, {tool}")
                if {tool, f"{contest.attack}/{tool}"} & set(wanted.without):
                    lines[tool] = {"without": True}
                else:
                    try:
                        lines[tool] = enter(case, contest, tool, start)
                    except Exception as error:  # a peer that breaks is a result too
                        lines[tool] = {"broke": f"{type(error).__name__}: {error}"[:120]}
                progress.advance(bar)
            rows[f"{name}/{contest.name}"] = {
                "case": name, "name": contest.name, "attack": contest.attack, "norm": contest.norm, "rows": len(case.x),
                "eps": case.eps.get(str(contest.radius), contest.radius), "queries": contest.queries, "tools": lines,
            }  # fmt: skip
            ordered = [rows[key] for key in (f"{case}/{one.name}" for case, one in every) if key in rows]
            _write(wanted.output, {"machine": facts(), "contests": ordered})
    print((wanted.output / "queries.md").read_text())


HEAD = """# The black boxes beside the peers

Written by `python -m bench.queries -o bench/results`. Every tool of a contest gets the same digits (rows, all
classified correctly before), the same radius where there is one, and as many questions a row. Those who see labels
alone begin at the same noise, which wins, where they let the user say so (ART's GeoDA does not).

* **asked**: what a row was really asked about on average, counted on the network; a tool that counts rounds gets as
  many as the questions pay for.
* **success**: one judge for all, within the radius; without one, any win counts.
* **median**: of the size over all rows, a row that is not won counting as infinite; where no radius is given.
* **seconds**: of all processors together, in one run, the first; small differences mean nothing.
* **left out**: by `--without`.

"""


def _write(folder: Path, everything: dict[str, Any]) -> None:
    (folder / "queries.json").write_text(json.dumps(everything, indent=1) + "\n")
    text = HEAD + ", ".join(f"{name} {value}" for name, value in everything["machine"].items()) + ".\n"
    for case in CASES:
        some = [contest for contest in everything["contests"] if contest["case"] == case]
        if some:
            text += f"\n## zoo:{'digits-cnn' if case == 'digits' else case}\n\n"
            text += "| attack | norm | rows | radius | questions | tool | asked | success | median | seconds |\n"
            text += "| --- | --- | --: | --: | --: | --- | --: | --: | --: | --: |\n" + "".join(map(_section, some))
    (folder / "queries.md").write_text(text)


def _section(contest: dict[str, Any]) -> str:
    radius = "" if contest["eps"] is None else f"{contest['eps']:g}"
    text = ""
    for tool, line in contest["tools"].items():
        facts_of = (contest["attack"], contest["norm"], contest["rows"], radius, contest["queries"], tool)
        text += f"| {' | '.join(map(str, facts_of))} |"
        if "without" in line:
            text += " left out | | | |\n"
        elif "broke" in line:
            text += f" broke: {line['broke']} | | | |\n"
        else:
            median = "" if radius else f"{line['median']:.4g}"  # inside a radius there is no smallest
            text += f" {line['asked']:.0f} | {line['success']:.0%} | {median} | {line['seconds']:.2f} |\n"
    return text


if __name__ == "__main__":
    main()
