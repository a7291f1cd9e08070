"""`struthio certify MODEL --data ...`: the share of rows that are proved robust."""

from __future__ import annotations

import math
import time
import warnings
from typing import Any

import torch

from struthio._version import __version__
from struthio.certify import certify
from struthio.checks import UserError, positive
from struthio.cli import terminal
from struthio.cli.certify import Options
from struthio.cli.network import device
from struthio.data import load_data
from struthio.models import check_contract, load
from struthio.models.contract import ContractWarning
from struthio.report import table
from struthio.report.numbers import seconds_text, share_text
from struthio.shares import Share
from struthio.threats import threat

AT_ONCE = 8


def run_rows(spec: str, options: Options) -> int:
    """Certify the rows one handful after the other and print the certified accuracy with its 95 % interval."""
    if options.threat is None:
        raise UserError("what may change was not said. Give --threat, such as --threat linf:0.05.")
    if options.output is not None:
        raise UserError("--output is for a property's counterexample; rows are only counted.")
    positive(options.count, "-n")
    limit: Any = threat(options.threat)
    with terminal.quiet_output():
        model = load(spec, weights=options.weights, device=device(options.device))
    samples = load_data(options.data or "", getattr(model, "input_size", None))
    stop, started = min(options.count, len(samples)), time.perf_counter()
    rows = correct = certified = 0
    margins, reason = [], None
    with terminal.bar() as bar:
        task = bar.add_task("certify", total=stop, so_far="")
        for _, x, labels in samples.batches(AT_ONCE, stop=stop):
            if labels is None:
                raise UserError("the data has no labels; certified accuracy is about right answers.")
            x, labels = (part.to(device(options.device)) for part in (x, labels))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ContractWarning)  # a softmax at the end is left out
                outputs = check_contract(model, x, labels)
            found = certify(model, x, labels, limit, options.method)
            rows, reason = rows + len(x), reason or found.reason
            correct += int((outputs.argmax(1) == labels).sum())
            certified += int(found.certified.sum())
            margins.append(found.lower)
            bar.advance(task, len(x))
    if reason is not None:
        terminal.note(f"nothing was certified: {reason}")
    summary = {
        "struthio": __version__, "model": spec, "weights": options.weights, "data": options.data,
        "threat": options.threat, "method": options.method, "rows": rows, "reason": reason,
        "clean_accuracy": Share(correct, rows).figures(), "certified_accuracy": Share(certified, rows).figures(),
        "median_margin": float(torch.cat(margins).median()), "seconds": round(time.perf_counter() - started, 3),
    }  # fmt: skip
    _tell(summary, options)
    return 0


def _tell(found: dict[str, Any], options: Options) -> None:
    if options.json:
        terminal.show_json(found)
        return
    margin = found["median_margin"]
    terminal.show(table.facts([
        ("model", found["model"], ""),
        ("data", f"{found['data']}, {found['rows']} rows", ""),
        ("threat", found["threat"], ""),
        ("method", found["method"], ""),
        ("", "", ""),
        ("clean accuracy", *share_text(found["clean_accuracy"])),
        ("certified accuracy", *share_text(found["certified_accuracy"])),
        ("least margin", f"{margin:.4g}" if math.isfinite(margin) else "none", "median of the lower bounds, in logits"),
        ("time", seconds_text(found["seconds"]), ""),
    ]))  # fmt: skip
