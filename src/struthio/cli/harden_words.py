"""What is said of a training: how it went, how good it is on rows that it was not trained on, and what comes next."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from struthio.checks import UserError
from struthio.cli import terminal
from struthio.cli.harden import Options
from struthio.describe import number
from struthio.models import load
from struthio.report import table
from struthio.report.numbers import seconds_text
from struthio.shares import percent
from struthio.train.checkpoint import RESULT
from struthio.train.fit import Trained
from struthio.train.history import Epoch
from struthio.train.job import threat_of
from struthio.train.recipe_file import Hardening

LINES = 12  # of the history that are shown
COLUMNS = ("epoch", "loss", "clean", "robust", "one step", "rate")


def tell(trained: Trained, made: Hardening, folder: Path, options: Options) -> None:
    """Print the result as a table or as JSON."""
    weights = folder / RESULT
    follow = command(made, weights)
    if options.json:
        terminal.show_json(
            {
                "model": made.model,
                "weights": str(weights),
                "best": asdict(trained.best),
                "history": [asdict(line) for line in trained.history],
                "doubts": list(trained.doubts),
                "next": follow,
            }
        )
        return
    terminal.show(table.listing(COLUMNS, [_line(line, trained.best) for line in _some(trained)]))
    seconds = sum(line.seconds for line in trained.history)
    facts = [("weights", str(weights), f"of epoch {trained.best.epoch}{accuracies(trained.best)}")]
    terminal.show("", table.facts([*facts, ("time", seconds_text(seconds), _epochs(len(trained.history)))]))
    for doubt in trained.doubts:
        terminal.note(doubt)
    other = "" if fresh(made) else " (put them in the place of DATA)"
    terminal.show(f"\nHow robust it is, on rows that had no part in this{other}:")
    terminal.out().print(f"  {follow}", markup=False, soft_wrap=True)


def command(made: Hardening, weights: Path) -> str:
    """The command that audits the result."""
    try:
        load(str(made.model), weights=weights)
    except UserError:
        folder = str(weights.parent)
        rows = repr(fresh(made)) if fresh(made) else "DATA"
        return f"struthio.audit(struthio.train.earlier({folder!r}), {rows}, {threat_text(made) or 'THREAT'!r})"
    parts = ["struthio", "audit", str(made.model), fresh(made) or "DATA", "--weights", str(weights)]
    return shlex.join([*parts, "--threat", threat_text(made) or "linf:8/255"])


def fresh(made: Hardening) -> str | None:
    """The rows of the same data set that were not trained on, where its spec names a part of it."""
    whole, part, _ = str(made.data).partition(":train")
    return whole if part and not Path(whole, "train").is_dir() else None  # of sub-folders, the whole holds all


def threat_text(made: Hardening) -> str | None:
    """The threat of the evaluation as `--threat` takes it, where it is a ball."""
    evaluation = made.plan.evaluation
    threat = (evaluation.threat if evaluation else None) or threat_of(made.recipe)
    norm = getattr(threat, "norm", None)
    return f"{norm}:{number(float(threat.eps))}" if threat is not None and norm in ("linf", "l2", "l1", "l0") else None


def accuracies(line: Epoch) -> str:
    """The accuracies of an epoch, as the end of a sentence; empty where nothing was evaluated."""
    said = [
        f", {name} {percent(share)}"
        for name, share in (("clean", line.clean), ("robust", line.robust))
        if share is not None
    ]
    return "".join(said)


def log(writer: Any, line: Epoch) -> None:
    """One epoch for TensorBoard."""
    for name, value in asdict(line).items():
        if name not in ("epoch", "judged") and value is not None:
            writer.add_scalar(name, value, line.epoch)


def _epochs(count: int) -> str:
    return f"{count} epoch{'s' * (count != 1)}"


def _some(trained: Trained) -> list[Epoch]:
    """Epochs spread over the history, those that were evaluated where there are enough; the best and the last among
    them.
    """
    lines = [line for line in trained.history if line.clean is not None] or list(trained.history)
    step = -(-len(lines) // LINES)
    return [line for k, line in enumerate(lines) if k % step == 0 or line == trained.best or line is lines[-1]]


def _line(line: Epoch, best: Epoch) -> list[str]:
    shares = [("" if share is None else percent(share)) for share in (line.clean, line.robust, line.one_step)]
    return [f"{line.epoch}{' *' * (line == best)}", f"{line.loss:.4g}", *shares, f"{line.rate:.3g}"]
