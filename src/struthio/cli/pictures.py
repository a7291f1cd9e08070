"""`struthio attack PICTURE...`: reads, attacks, saves and judges picture after picture, then prints one table."""

from __future__ import annotations

import shlex
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from struthio.attacks.base import Attack
from struthio.attacks.pictures import PictureResult, attack_picture, fitted, seen_whole, whole
from struthio.attacks.stream import Aim, aim
from struthio.checks import UserError, near_misses
from struthio.cli import terminal
from struthio.cli.attack import Options
from struthio.cli.classes import class_name, find_class
from struthio.cli.network import agreed, chosen_attack, chosen_threat, load_network
from struthio.data.bundled import photographs
from struthio.data.files import replacing, writable_folder
from struthio.data.pictures import find_pictures, read_picture
from struthio.describe import describe
from struthio.models import prepare
from struthio.report import figure, table
from struthio.report.numbers import likely, seconds_text, short_name, size_text
from struthio.types import Threat

MODEL, THREAT, FOLDER = "zoo:efficientnet-lite0", "linf:4/255", "adversarial"
LARGE = 3_000_000  # pixels: from here on, how long it will take is worth a word
SEVERAL = 3  # pictures: from here on, preparing the model costs less than it saves


@dataclass(frozen=True)
class Job:
    """What is the same for all pictures."""

    model: nn.Module
    attack: Attack
    threat: Threat
    aim: Aim
    folder: Path
    options: Options

    @property
    def size(self) -> tuple[int, int, int] | None:
        """What the network takes: channels, height, width."""
        return getattr(self.model, "input_size", None)

    @property
    def names(self) -> Sequence[str] | None:
        """The names of the classes."""
        return getattr(self.model, "class_names", None)


@dataclass(frozen=True)
class Done:
    """One picture that was attacked, and the files that were left."""

    name: str
    result: PictureResult
    adversarial: Path
    figure: Path


@dataclass(frozen=True)
class Problem:
    """One picture that could not be attacked, and why."""

    name: str
    why: str


def run_pictures(specs: Sequence[str], options: Options) -> int:
    """Attack the pictures that these texts name; gives the exit status."""
    job = _job(options)
    found: list[Done | Problem] = []
    sources = list(_sources(specs))
    try:
        for entry in _attacked(job, sources):
            found.append(entry)
            if isinstance(entry, Problem):
                terminal.error(entry.why if entry.name in entry.why else f"{entry.name}: {entry.why}")
        stopped = False
    except KeyboardInterrupt:
        stopped = True
        terminal.note(f"stopped: {len(found)} of {len(sources)} pictures are done, and kept in {job.folder}.")
    done = [entry for entry in found if isinstance(entry, Done)]
    if options.json:
        terminal.show_json(_as_json(job, found, stopped))
    elif done:
        _show(job, done, specs)
    if stopped:
        return 130
    return 2 if len(done) < len(found) else int(not all(entry.result.reached for entry in done))


def _job(options: Options) -> Job:
    goal = options.goal_text()
    if goal is None:
        raise UserError("what the pictures shall become was not said. Give --to CLASS, or --untargeted.")
    if options.weights is not None and options.model is None:
        raise UserError("--weights belong to a model from code; name it with --model FILE.py:FACTORY.")
    attack = chosen_attack(options, keep="best")
    threat = chosen_threat(options.threat or THREAT, options.levels is not False)
    folder = writable_folder(options.output or FOLDER)
    model = load_network(options, options.model or MODEL)
    return Job(model, attack, threat, aim(_numbered(goal, model), lambda name: 0), folder, options)


def _numbered(goal: str, model: nn.Module) -> str:
    """The goal with the number of its class in place of the name."""
    kind, _, wanted = goal.partition(":")
    return f"to:{find_class(wanted, getattr(model, 'class_names', None))}" if kind == "to" and wanted else goal


def _sources(specs: Sequence[str]) -> Iterator[Path | Problem]:
    for spec in specs:
        try:
            yield from _bundled(spec) if spec.startswith("data:") else find_pictures([spec])
        except UserError as error:
            yield Problem(spec, str(error))


def _bundled(spec: str) -> list[Path]:
    found = photographs()
    if not found:
        raise UserError("no photograph of scikit-image is here. Install: pip install 'struthio[zoo]'.")
    if spec == "data:pictures":
        return list(found.values())
    wanted = Path(spec.removeprefix("data:")).stem
    if wanted not in found:
        known = [path.name for path in found.values()]
        raise UserError(f"there is no photograph {spec!r}. {near_misses(wanted, known, 'photographs')}")
    return [found[wanted]]


def _attacked(job: Job, sources: Sequence[Path | Problem]) -> Iterator[Done | Problem]:
    """Picture after picture; the network is checked on the first that can be read."""
    ready, taken = False, set[str]()
    fast: nn.Module = job.model
    for number, source in enumerate(sources, start=1):
        if isinstance(source, Problem):
            yield source
            continue
        with terminal.err().status(f"{source.name} ({number} of {len(sources)})"):
            try:
                x = _read(job, source)
            except UserError as error:
                yield Problem(source.name, str(error))
                continue
            if not ready:
                job = replace(job, model=_agreed(job, x))
                fast = prepare(_seen(job), x[None], channels_last=True) if len(sources) >= SEVERAL else _seen(job)
                ready = True
            _warn_of_length(job, fast, source, x)
            try:
                yield _one(job, fast, source, x, _free_name(source.stem, taken))
            except UserError as error:
                yield Problem(source.name, str(error))


def _read(job: Job, source: Path) -> Tensor:
    x = read_picture(source)
    x = whole(x, job.size) if job.options.full_size else fitted(x, job.size)
    return x.to(next((parameter.device for parameter in job.model.parameters()), torch.device("cpu")))


def _agreed(job: Job, x: Tensor) -> nn.Module:
    seen = x if job.size is None else fitted(x.cpu(), job.size).to(x)
    return agreed(job.model, seen[None])


def _seen(job: Job) -> nn.Module:
    if not job.options.full_size:
        return job.model
    view = seen_whole(job.model, job.size)
    view.class_names = job.names  # type: ignore[assignment]
    return view


def _free_name(stem: str, taken: set[str]) -> str:
    """The stem, numbered where another picture of this run has it already."""
    name, number = stem, 2
    while name in taken:
        name, number = f"{stem}-{number}", number + 1
    taken.add(name)
    return name


def _warn_of_length(job: Job, model: nn.Module, source: Path, x: Tensor) -> None:
    """For a very large picture, one step is timed to say how long all will take."""
    if x[0].numel() < LARGE:
        return
    started = time.perf_counter()
    z = x[None].clone().requires_grad_()
    torch.autograd.grad(model(z).logsumexp(1).sum(), z)
    steps = getattr(job.attack, "steps", None) or 1
    whole_time = seconds_text(steps * (time.perf_counter() - started))
    terminal.note(
        f"{source.name} has {x.shape[-1]} x {x.shape[-2]} pixels: {steps} steps will take about {whole_time}."
    )


def _one(job: Job, model: nn.Module, source: Path, x: Tensor, name: str) -> Done:
    saved, drawn = job.folder / f"{name}-adversarial.png", job.folder / f"{name}-figure.png"
    result = attack_picture(model, x, job.attack, job.threat, job.aim, path=saved, seed=job.options.seed)
    foot = f"{source.name}  ·  {_model_text(job)}  ·  {describe(job.attack)}  ·  {describe(job.threat)}"
    panels = [
        figure.Panel("before", result.x, _top(job, result.before)),
        figure.Panel("noise x10, on grey", figure.enlarged_noise(result.x, result.x_adv), _top(job, result.noise)),
        figure.Panel("after", result.x_adv, _top(job, result.after)),
    ]
    with replacing(drawn) as beside:
        figure.draw(panels, beside, foot)
    return Done(source.name, result, saved, drawn)


def _model_text(job: Job) -> str:
    return (job.options.model or MODEL).removeprefix("zoo:")


def _top(job: Job, probabilities: Tensor, count: int = 3) -> list[tuple[str, float]]:
    top = probabilities.topk(min(count, len(probabilities)))
    return [(class_name(k, job.names), p) for k, p in zip(top.indices.tolist(), top.values.tolist(), strict=True)]


def _show(job: Job, done: Sequence[Done], specs: Sequence[str]) -> None:
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
    return [entry.name, before, after, size, *survives, seconds_text(result.seconds)]


def _first(job: Job, probabilities: Tensor) -> tuple[str, str]:
    name, probability = _top(job, probabilities, 1)[0]
    return short_name(name), likely(probability)


def _repeat(options: Options) -> str:
    """The command line again, for another picture."""
    words = ["struthio", "attack", "YOUR-PICTURE.jpg"]
    words += ["--to", options.to] if options.to is not None else []
    words += ["--untargeted"] if options.untargeted else []
    words += ["--goal", options.goal] if options.goal else []
    words += ["--attack", options.attack] if options.attack != "pgd" else []
    words += ["--threat", options.threat or THREAT]
    for name, value in (("--model", options.model), ("--weights", options.weights), ("--steps", options.steps)):
        words += [name, str(value)] if value is not None else []
    words += [word for text in options.option for word in ("-O", text)]
    words += ["--no-levels"] if options.levels is False else []
    words += ["--full-size"] if options.full_size else []
    words += ["--seed", str(options.seed)] if options.seed else []
    return shlex.join([*words, "-o", options.output or FOLDER])


def _as_json(job: Job, found: Sequence[Done | Problem], stopped: bool) -> dict[str, Any]:
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
