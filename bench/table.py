"""The measurements as a page of Markdown."""

from __future__ import annotations

from typing import Any

HEAD = """# Attacks beside the peers

Written by `python -m bench.run -o bench/results`. Every tool gets the same rows (all classified correctly before), the
same radius, steps and step length, and all rows in one batch. All take turns in one process, the more the shorter a
turn is; the least time counts.

* **seconds**: until it is known which rows are won. A tool that returns inputs only gets one forward more for that.
  They are those that the process computed, so that whatever else the machine does counts little, or those of the wall.
* **x floor**: those seconds as a multiple of the floor's, which is the same number of forwards and input gradients with
  nothing around them, and one forward for the verdict. **unjudged**: the same multiple before any verdict; a tool that
  gives its verdict by itself cannot leave it out.
* **success**: one judge for all, on the network as given: another class, inside the radius to 1e-6, inside [0, 1].
* **forwards, backwards**: passes a row, counted from outside.
* *every row to the end* is the plain comparison; without these words a row leaves the batch when it is won, which no
  peer here does inside a run. *prepared* is on `st.prepare(model, x)`, which is done before the clock starts.

"""

CLOCKS = ("of the wall", "of computing")  # by a device's kind: a GPU, a processor

COLUMNS = """\
| tool | seconds | x floor | unjudged | success | forwards | backwards |
| --- | --: | --: | --: | --: | --: | --: |
"""


def markdown(everything: dict[str, Any]) -> str:
    """The whole page."""
    facts = ", ".join(f"{name} {value}" for name, value in everything["machine"].items())
    warning = "**A quick run: too few rows and turns to compare anything.**\n\n" if everything["quick"] else ""
    return HEAD + warning + facts + ".\n" + "".join(_section(row) for row in everything["rows"])


def _section(row: dict[str, Any]) -> str:
    title = f"\n## {row['case']}: {row['attack']}, {row['steps']} steps, {row['rows']} rows, eps {row['eps']:.4g}\n\n"
    floor = row["tools"]["floor"]
    note = (
        f"{row['note']}. Seconds {row['clock']}. The floor's slowest turn took "
        f"{floor['slowest'] / floor['seconds']:.2f} times its fastest.\n\n"
    )
    lines = "".join(_line(name, line) for name, line in row["tools"].items())
    return title + note + COLUMNS + lines


def _line(name: str, line: dict[str, float]) -> str:
    success = "" if name == "floor" else f"{line['success']:.1%}"
    return (
        f"| {name} | {line['seconds']:.3f} | {line['ratio']:.2f} | {line['unjudged_ratio']:.2f} | {success} "
        f"| {line['forwards']:.1f} | {line['backwards']:.1f} |\n"
    )
