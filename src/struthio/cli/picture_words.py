"""What is said of attacked pictures: a table with the command to repeat it, or JSON."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor

from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.cli.classes import class_name
from struthio.cli.picture_job import FOLDER, MODEL, THREAT, Done, Job, Problem
from struthio.describe import describe
from struthio.report import table
from struthio.report.numbers import likely, seconds_text, short_name, size_text


def show(job: Job, done: Sequence[Done]) -> None:
    """Print the table of what was done, the files that were left, and how to do it again."""
    reached = sum(entry.result.reached for entry in done)
    terminal.show(
        table.pictures(_row(job, entry) for entry in done),
        f"{reached} of {len(done)} reached, judged on the PNG files as saved in {job.folder}:",
        *(f"  {entry.adversarial.name}, {entry.figure.name}" for entry in done),
        "\nThe same with a picture of your own:",
    )
    terminal.out().print(f"  {_repeat(job.options)}", markup=False, soft_wrap=True)


def _row(job: Job, entry: Done) -> list[str]:
    result = entry.result
    before, after = ("{}\n{}".format(*_first(job, p)) for p in (result.before, result.after))
    survives = [f"{'yes' if s.reached else 'no'}\n{likely(s.probability)}" for s in result.survives.values()]
    size = size_text(result.size, getattr(job.threat, "p", None))
    return [entry.name, before, after, f"{size}\n{seconds_text(result.seconds)}", *survives]


def _first(job: Job, probabilities: Tensor) -> tuple[str, str]:
    name, probability = job.top(probabilities, 1)[0]
    return short_name(name), likely(probability)


def _repeat(options: Options) -> str:
    """The command line again, for another picture."""
    said = replace(options, threat=options.threat or THREAT)
    return shlex.join(["struthio", "attack", "YOUR-PICTURE.jpg", *said.words(), "-o", options.output or FOLDER])


def as_json(job: Job, found: Sequence[Done | Problem], stopped: bool) -> dict[str, Any]:
    """All that is known, for `--json`."""
    done = [entry for entry in found if isinstance(entry, Done)]
    return {
        "model": job.options.model or MODEL,
        "attack": describe(job.attack),
        "threat": describe(job.threat),
        "goal": job.options.goal_text(),
        "seed": job.options.seed,
        "complete": not stopped,
        "reached": sum(entry.result.reached for entry in done),
        "pictures": [_entry_json(job, entry) for entry in done],
        "problems": [{"file": entry.name, "error": entry.why} for entry in found if isinstance(entry, Problem)],
    }


def _entry_json(job: Job, entry: Done) -> dict[str, Any]:
    result = entry.result

    def told(probabilities: Tensor) -> list[dict[str, Any]]:
        numbers = probabilities.topk(min(3, len(probabilities))).indices.tolist()
        return [{"class": k, "name": class_name(k, job.names), "probability": float(probabilities[k])} for k in numbers]

    return {
        "file": entry.name,
        "before": told(result.before),
        "noise": told(result.noise),
        "after": told(result.after),
        "target": result.target,
        "reached": result.reached,
        "size": result.size,
        "survives": {name: {"reached": s.reached, "probability": s.probability} for name, s in result.survives.items()},
        "forwards": result.forwards,
        "backwards": result.backwards,
        "seconds": result.seconds,
        "adversarial": str(entry.adversarial),
        "figure": str(entry.figure),
    }
