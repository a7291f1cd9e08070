"""The work of `struthio universal`: one change, found on some rows and judged on others, as a table, files and JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from struthio.attacks.registry import UNIVERSAL
from struthio.attacks.shared import Universal
from struthio.attacks.shared_deepfool import UniversalDeepFool
from struthio.attacks.shared_fit import Progress, Stopped
from struthio.attacks.shared_gradient import UniversalGradient
from struthio.checks import UserError, positive
from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.cli.classes import find_class
from struthio.cli.network import agreed, chosen_threat, device, load_network
from struthio.cli.options import options_from
from struthio.cli.universal import UniversalOptions
from struthio.data import Samples, load_data
from struthio.data.files import replacing, writable_folder
from struthio.data.pictures import save_png
from struthio.describe import describe
from struthio.listed import find
from struthio.report import figure, table
from struthio.report.numbers import seconds_text, share_text, size_text
from struthio.rows import RowGenerator, norm
from struthio.shares import Share
from struthio.types import Threat

ROWS = 1000  # to fit to, at most, if not said
CHANGE, PICTURE, FIGURES = "change.safetensors", "change.png", "universal.json"


@dataclass(frozen=True)
class Job:
    """All that the options name, found and checked before the work begins."""

    model: nn.Module
    data: Samples
    attack: UniversalGradient | UniversalDeepFool
    threat: Threat
    target: int | None
    fit: int
    stop: int
    options: UniversalOptions

    def rows(self, start: int, stop: int) -> Callable[[int], Iterator[tuple[Tensor, Tensor, Tensor | None]]]:
        """Rows of the data on the model's device, from a batch size."""
        where = device(self.options.device)
        return lambda size: ((ids, x.to(where), y) for ids, x, y in self.data.batches(size, start, stop))


def run_universal(spec: str, options: UniversalOptions) -> int:
    """Find the change, judge it, and leave it where the options say; gives the exit status."""
    job = _job(spec, options)
    with terminal.bar("passes") as bar:
        task = bar.add_task(options.attack, total=job.attack.passes, so_far="")

        def progress(done: int, rate: float) -> None:
            bar.update(task, completed=done, so_far=f", {rate:.1%} fooled")

        found, end = _fitted(job, progress)
    if options.output is not None:
        _leave_change(job, found)
    if end:
        kept = f", and is kept in {options.output}" if options.output is not None else ""
        terminal.note(f"stopped in pass {len(found.rates) + 1}: what was found until then is judged{kept}.")
    figures = {**_figures(job, spec, found), "complete": not end}
    if options.output is not None:
        with replacing(writable_folder(options.output) / FIGURES) as beside:
            beside.write_text(json.dumps(terminal.finite(figures), indent=2, ensure_ascii=False) + "\n")
    _tell(job, figures)
    return end


def _fitted(job: Job, progress: Progress) -> tuple[Universal, int]:
    """The change, after Ctrl-C as it was then, and the exit status."""
    try:
        return job.attack.fit(
            job.model, job.rows(0, job.fit), job.threat, target=job.target, seed=job.options.seed, progress=progress
        ), 0
    except Stopped as stopped:
        return stopped.found, 130


def _job(spec: str, options: UniversalOptions) -> Job:
    if options.data is None:
        raise UserError("which data was not said. Give --data, such as --data data:digits.")
    if options.threat is None:
        raise UserError("what may change was not said. Give --threat, such as --threat linf:10/255.")
    positive(options.count, "-n")
    kind = find(options.attack, UNIVERSAL, "universal attack", "universal attacks")
    threat = chosen_threat(options.threat, levels=False)
    attack = kind(**options_from(options.attack, kind, options.option))
    if options.output is not None:
        writable_folder(options.output)
    model = load_network(Options(weights=options.weights, device=options.device), spec)
    data = load_data(options.data, getattr(model, "input_size", None))
    fit = min(ROWS, len(data) // 2) if options.fit is None else options.fit
    positive(fit, "--fit")
    if fit >= len(data):
        raise UserError(f"{options.data} has {len(data)} rows, and --fit {fit} leaves none to judge the change on.")
    target = None if options.to is None else find_class(options.to, getattr(model, "class_names", None))
    _, x, labels = next(data.batches(32, stop=fit))
    model = agreed(model, x.to(device(options.device)), labels)
    return Job(model, data, attack, threat, target, fit, min(len(data), fit + options.count), options)


def _figures(job: Job, spec: str, found: Universal) -> dict[str, Any]:
    """All that is told, by name; shares with their 95 % intervals."""
    fresh = job.rows(job.fit, job.stop)
    ids, x, _ = next(fresh(1))
    noise = job.threat.sample(x, RowGenerator.seeded(job.options.seed, ids.to(x.device)))[0]
    by_chance = Universal(noise, job.threat, job.target)
    judged = [
        (change, change.fooling(job.model, rows))
        for change, rows in ((found, fresh), (found, job.rows(0, job.fit)), (by_chance, fresh))
    ]
    fooled, fooled_in_fitting, fooled_by_chance = (
        Share(sum(fooling.fooled), sum(fooling.rows)).figures() if sum(fooling.rows) else None for _, fooling in judged
    )
    return {
        "model": spec,
        "data": job.options.data,
        "attack": describe(job.attack),
        "threat": describe(job.threat),
        "target": job.target,
        "seed": job.options.seed,
        "fooled": fooled,
        "fooled_in_fitting": fooled_in_fitting,
        "fooled_by_chance": fooled_by_chance,
        "size": float(norm(found.delta[None], getattr(job.threat, "p", 2.0))),
        "forwards_per_row": found.forwards / job.fit,
        "backwards_per_row": found.backwards / job.fit,
        "seconds": round(found.seconds, 3),
    }


def _leave_change(job: Job, found: Universal) -> None:
    folder, delta = writable_folder(job.options.output or ""), found.delta.float().cpu()
    (folder / FIGURES).unlink(missing_ok=True)  # of an earlier change
    with replacing(folder / CHANGE) as beside:
        save_file({"delta": delta.contiguous()}, beside, {"threat": describe(job.threat)})
    if delta.ndim == 3 and len(delta) in (1, 3):
        grey = delta.new_zeros(delta.shape)
        save_png(figure.enlarged_noise(grey, delta, 0.5 / max(float(delta.abs().max()), 1e-9)), folder / PICTURE)


def _tell(job: Job, figures: dict[str, Any]) -> None:
    if job.options.json:
        terminal.show_json(figures)
        return
    forwards, backwards = figures["forwards_per_row"], figures["backwards_per_row"]
    aim = "any other class" if job.target is None else f"class {job.target}"
    lines = [
        ("model", figures["model"], ""),
        ("data", figures["data"], ""),
        ("rows", f"found on {job.fit}, judged on {job.stop - job.fit} others", ""),
        ("attack", f"{figures['attack']}, to {aim}", ""),
        ("threat", figures["threat"], ""),
        ("", "", ""),
        ("fooled", *share_text(figures["fooled"], "fresh rows")),
        ("in fitting", *share_text(figures["fooled_in_fitting"])),
        ("by chance", *share_text(figures["fooled_by_chance"], "fresh rows")),
        ("size", size_text(figures["size"], getattr(job.threat, "p", None)), ""),
        ("cost of a row", f"{forwards:.1f}", f"forwards, {backwards:.1f} backwards"),
        ("time", seconds_text(figures["seconds"]), ""),
        *([("kept in", job.options.output, "")] if job.options.output else []),
    ]  # fmt: skip
    terminal.show(table.facts(lines))
