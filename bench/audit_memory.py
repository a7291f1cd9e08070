"""Peak memory of an audit over 10,000 and over 100,000 small rows: `python -m bench.audit_memory -o bench/results`.

Each size runs in a process of its own, because the peak of a process never falls; rows, store and torch are included.
The rows are noise of 8 x 8 and the network is a small untrained one that labels them itself: memory counts, not the
verdict.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from torch import nn

import struthio as st
from bench.machine import facts

SIZES = (10_000, 100_000)


def work(rows: int) -> dict[str, float]:
    """Audit that many rows in this process, and say what it took. Megabytes are of 10^6 bytes."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)).eval()
    x = torch.rand(rows, 1, 8, 8)
    with torch.no_grad():
        y = model(x).argmax(1)
    start = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        verdict = st.audit(model, (x, y), "linf:0.02", level="quick", certify="none", folder=folder).verdict
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    seconds = time.perf_counter() - start
    return {"rows": rows, "left": verdict.count.held, "seconds": seconds, "peak_megabytes": peak / 1e6}


def page(lines: list[dict[str, float]]) -> str:
    """The lines as Markdown."""
    table = "".join(
        f"| {line['rows']:,} | {line['left']:,} | {line['seconds']:.1f} | {line['peak_megabytes']:.0f} |\n"
        for line in lines
    )
    head = "| rows | left | seconds | peak MB |\n| --: | --: | --: | --: |\n"
    setting = "Level quick, Linf 0.02, rows of 8 x 8, an untrained network of two layers; a process for each line."
    return f"# Memory of an audit\n\n{setting}\n\n{head}{table}"


def main() -> None:
    """Measure every size in a process of its own and write the results, or measure one size here."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, help="measure this size in this process and print it as JSON")
    parser.add_argument("-o", "--output", type=Path)
    wanted = parser.parse_args()
    if wanted.rows:
        print(json.dumps(work(wanted.rows)))
        return
    if wanted.output is None:
        parser.error("name the folder for the results with -o")
    lines = []
    for rows in SIZES:
        command = [sys.executable, "-m", "bench.audit_memory", "--rows", str(rows)]
        lines.append(json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout))
    (wanted.output / "audit_memory.json").write_text(json.dumps({"lines": lines, "machine": facts()}, indent=1) + "\n")
    (wanted.output / "audit_memory.md").write_text(page(lines))


if __name__ == "__main__":
    main()
