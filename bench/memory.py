"""Peak memory of a streamed job over 1,000 and over 10,000 digits: `python -m bench.memory -o bench/results`.

Each size runs in a process of its own, because the peak of a process never falls. The 5,000 digits are taken twice.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import torch

import struthio as st
from bench.machine import facts
from struthio.attacks.stream import Batch, aim, stream
from struthio.data.digits import digits

SIZES = (1_000, 10_000)
BATCH = 100


def batches(rows: int, size: int) -> Iterator[Batch]:
    """Digits over and over, as (ids, x, labels) of `size` rows."""
    parts = [digits("train"), digits("test")]
    x, y = (torch.cat(both) for both in zip(*parts, strict=True))
    for first in range(0, rows, size):
        ids = torch.arange(first, min(first + size, rows))
        yield ids, x[ids % len(x)], y[ids % len(y)]


def work(rows: int) -> dict[str, float]:
    """Attack that many digits in this process, and say what it took. Megabytes are of 10^6 bytes."""
    model = st.load("zoo:digits-cnn")
    start, won = time.perf_counter(), 0
    job = stream(
        st.PGD(steps=10), model, lambda size: batches(rows, size), aim("untargeted"), st.Linf(0.1), batch_size=BATCH
    )
    for done in job:
        won += int(done.result.success.sum())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"rows": rows, "won": won, "seconds": time.perf_counter() - start, "peak_megabytes": peak / 1e6}


def page(lines: list[dict[str, float]]) -> str:
    """The lines as Markdown."""
    table = "".join(
        f"| {line['rows']:,} | {line['won']:,} | {line['seconds']:.1f} | {line['peak_megabytes']:.0f} |\n"
        for line in lines
    )
    head = "| rows | won | seconds | peak MB |\n| --: | --: | --: | --: |\n"
    more = lines[-1]["peak_megabytes"] / lines[0]["peak_megabytes"]
    setting = (
        f"PGD, 10 steps, Linf 0.1, digits CNN, {BATCH} rows at once; a process for each line, torch itself included."
    )
    last = f"Ten times the rows take {more:.2f} times the memory."
    return f"# Memory of a streamed job\n\n{setting}\n\n{head}{table}\n{last}\n"


def main() -> None:
    """Run each size in a fresh process, and write memory.md and memory.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, help="the folder for memory.md and memory.json")
    parser.add_argument("--rows", type=int, help="run this size here and print what it took")
    wanted = parser.parse_args()
    if wanted.rows:
        print(json.dumps(work(wanted.rows)))
        return
    lines = []
    for rows in SIZES:
        command = [sys.executable, "-m", "bench.memory", "--rows", str(rows)]
        lines.append(json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout))
    print(page(lines))
    if wanted.output:
        wanted.output.mkdir(parents=True, exist_ok=True)
        (wanted.output / "memory.md").write_text(page(lines))
        (wanted.output / "memory.json").write_text(json.dumps({"machine": facts(), "lines": lines}, indent=1) + "\n")


if __name__ == "__main__":
    main()
