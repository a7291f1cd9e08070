"""What is said of a batch job: its figures as a table or as JSON, and a doubt where they look odd."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from struthio._version import __version__
from struthio.attacks.via import Via
from struthio.audit.doubts.answers import differ
from struthio.cli import terminal
from struthio.cli.saving import ROWS
from struthio.cli.tally import Tally
from struthio.data.numbering import in_words, renumbered
from struthio.describe import describe
from struthio.goals import abstains
from struthio.meter import ask
from struthio.models import Endpoint, Prepared, declared, declared_random, fingerprint
from struthio.report import table
from struthio.report.numbers import seconds_text, share_text, size_text

if TYPE_CHECKING:
    from struthio.attacks.base import Attack
    from struthio.cli.attack import Options
    from struthio.cli.batch import Job
    from struthio.data import Samples
    from struthio.types import Model, Threat


def doubt(tally: Tally, names: Sequence[str] | None) -> None:
    """A model that answers the classes of the data by other numbers, or is hardly ever right."""
    share, other = tally.figures()["clean_accuracy"], renumbered(tally.answers)
    if other:
        terminal.note(
            f"the model seems to number the classes otherwise than the data: {in_words(other, names)}. Only "
            f"{tally.correct} of {tally.rows} clean rows count as right for it; renumber the one or the other."
        )
    elif share["high"] < 0.2:
        terminal.note(
            f"the model is right on only {tally.correct} of {tally.rows} clean rows. Do data and model number their "
            "classes alike, and does the model hold its own normalisation?"
        )


def doubt_naive(model: nn.Module, attack: Attack, x: Tensor) -> None:
    """Say so where the model is to be attacked otherwise, by what its parts declare or by its answers to x twice."""
    hides = bool(declared(model)) and attack.access == "gradients"
    said = ["a stand-in for its gradient"] * hides + ["that it is random"] * declared_random(model)
    if said:
        terminal.note(
            f"a part of the model declares {' and '.join(said)}, which this attack does not use: what it leaves "
            "standing says little about robustness. struthio audit attacks such a model as it should be."
        )
    elif _changes_its_mind(model, x):
        terminal.note(
            "the model answers the same inputs otherwise when it is asked again: what this attack leaves standing says "
            "little about robustness. struthio audit attacks the average over its chance."
        )


@torch.no_grad()
def _changes_its_mind(model: nn.Module, x: Tensor) -> bool:
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        return differ(ask(model, x), ask(model, x))


def about(options: Options, attack: Attack, threat: Threat, model: Model) -> dict[str, Any]:
    """What the figures of a row depend on, by name."""
    return {
        "struthio": __version__,
        "model": model.line.shown if isinstance(model, Endpoint) else options.model,
        "weights": options.weights,
        "defense": list(options.defense),
        "via": options.via,
        "data": options.data,
        "attack": describe(attack),
        "threat": describe(threat),
        "goal": (options.goal_text() or "untargeted") + (", unnoticed" if abstains(model) else ""),
        "row_budget": options.row_budget,
        "seed": options.seed,
    }


def job(options: Options, attack: Attack, threat: Threat, model: Model, data: Samples) -> dict[str, Any]:
    """All that a finished row depends on, by name: the same command is known by it again."""
    if isinstance(model, Endpoint):
        asked = {name: getattr(options, name) for name in ("outputs", "classes", "field", "encoding", "layout", "each")}
        known: dict[str, Any] = {**asked, "answer": options.answer}
    else:
        known = {"digest of the model": fingerprint.of_model(model), "prepare": options.prepare}
    if isinstance(attack, Via):
        known |= {"digest of --via": fingerprint.of_model(attack.source), "average": options.average}
    digest = fingerprint.of_data(data, len(data))
    return {**about(options, attack, threat, model), **known, "digest of the data": digest}


def summary(job: Job, tally: Tally, seconds: float, complete: bool) -> dict[str, Any]:
    """The options and the figures by name."""
    notes = list(job.model.notes) if isinstance(job.model, Prepared) else []
    return {
        **about(job.options, job.attack, job.threat, job.model),
        "batch_size": job.batch_size,
        "prepared": notes,
        "complete": complete,
        **tally.figures(),
        **_questions(job),
        "seconds": round(seconds, 3),
    }


def _questions(job: Job) -> dict[str, Any]:
    """What an endpoint was sent; nothing for other models."""
    if not isinstance(job.model, Endpoint):
        return {}
    return {"inputs_sent": job.model.asked, "inputs_unsure": job.model.unsure, "budget": job.model.budget}


def tell(job: Job, tally: Tally, found: dict[str, Any]) -> None:
    """Print the figures, as a table or as JSON."""
    if job.options.json:
        terminal.show_json(found)
        return
    p = getattr(job.threat, "p", None)
    median, mean = (found[name] for name in ("median_size", "mean_size"))
    sizes = ("none", "") if median is None else (size_text(median, p), f"median; mean {size_text(mean, p)}")
    kept = f"{job.options.output}/{ROWS}" if job.options.output else ""
    lines = [
        ("model", f"{found['model']}" + (f" with {found['weights']}" if found["weights"] else ""), ""),
        *([("via", job.options.via, "searched there, which is not in the cost")] if job.options.via else []),
        ("data", f"{found['data']}, {tally.rows} of {len(job.data)} rows", ""),
        ("attack", f"{found['attack']}, {found['goal']}", ""),
        ("threat", found["threat"], ""),
        ("", "", ""),
        ("clean accuracy", *share_text(found["clean_accuracy"])),
        *([("robust accuracy", *share_text(found["robust_accuracy"]))] if _bounded(job) else []),
        ("success rate", *share_text(found["success_rate"], "attacked")),
        ("size of successes", *sizes),
        ("cost of a row", f"{found['forwards_per_row']:.1f}", f"forwards, {found['backwards_per_row']:.1f} backwards"),
        *([("questions", job.model.spent(), "")] if isinstance(job.model, Endpoint) else []),
        ("time", seconds_text(found["seconds"]), ""),
        *([("rows", kept, "")] if kept else []),
        ("", "", ""),
        ("prepared", "; ".join(found["prepared"]) or "no", ""),
    ]  # fmt: skip
    terminal.show(table.facts(lines))


def _bounded(job: Job) -> bool:
    """Whether there is a radius within which accuracy means anything; attacks for the smallest change need none."""
    return bool(torch.as_tensor(job.threat.eps).isfinite().all())
