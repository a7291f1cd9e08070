"""How an audit is done again: as a line at the terminal, or as a call in Python where its rows came from there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from typing import Any

from struthio.data.sets import OFFLINE


def in_python(job: Mapping[str, Any]) -> bool:
    """Whether the rows were given as tensors, which no line can name."""
    return re.fullmatch(r"\d+ rows", job["data"]) is not None


def rows_text(job: Mapping[str, Any]) -> str:
    """How many rows of what."""
    among = job["data"] if not in_python(job) else f"{job['data']} given in Python"
    return among if among.startswith(f"{job['rows']} rows ") else f"{job['rows']} rows of {among}"


def again(job: Mapping[str, Any]) -> str:
    """The line or the call that does the same audit again, as far as either can say it."""
    return call(job) if in_python(job) else command(job)


def call(job: Mapping[str, Any]) -> str:
    """The call in Python."""
    threats = [repr(name) if "(" not in name else name for name in job["threats"]]
    if any(":" not in name and "(" not in name for name in job["threats"]):  # names of the user's own
        threats = [f"{name!r}: {text}" for name, text in job["threats"].items()]
        said = "{" + ", ".join(threats) + "}"
    else:
        said = threats[0] if len(threats) == 1 else f"[{', '.join(threats)}]"
    options = {"level": job["level"], "rows": job["rows"], "seed": job["seed"], "batch_size": job["batch_size"],
               "certify": job["certify"], "repair": job["repair"]}  # fmt: skip
    words = [f"{name}={value!r}" for name, value in options.items() if (name, value) != ("repair", True)]
    for name in ("stand_ins", "surrogates"):
        words += [f"{name}={{" + ", ".join(f"{one!r}: ..." for one in job[name]) + "}"] if job[name] else []
    return f"struthio.audit(model, (x, labels), {said}, {', '.join(words)}, folder='audit')"


def command(job: Mapping[str, Any]) -> str:
    """The line at the terminal."""
    data = job["data"]
    *around, model = job["model"].split(" + ")  # as the command line names it: the outermost defence first
    words = ["struthio", "audit", model, f"data:{data}" if f"data:{data.split(':')[0]}" in OFFLINE else data]
    for defense in reversed(around):
        words += ["--defense", defense]
    for text in job["threats"]:
        words += ["--threat", text]
    words += ["--level", job["level"], "--count", str(job["rows"]), "--seed", str(job["seed"])]
    words += ["--batch-size", str(job["batch_size"]), "--certify", job["certify"]]
    words += [] if job["repair"] else ["--no-repair"]
    for part, instead in job["stand_ins"].items():
        words += ["--stand-in", f"{part}=identity"] if instead == "None" else []
    for name in job["surrogates"]:
        words += ["--surrogate", name]
    return shlex.join([*words, "-o", "audit"])
